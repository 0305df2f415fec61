// Runs before anything is drawn, so that a dark page is dark from its first moment.
"use strict";

document.documentElement.dataset.theme = localStorage.getItem("qwq.theme") ?? "auto";
