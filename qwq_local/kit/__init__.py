"""All that QwQ needs on a machine without network, gathered into one folder, and checked."""
