"""What a model gets right: questions asked, answers graded, and runs compared."""
