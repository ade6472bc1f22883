// The button that prints a page: without scripts there is none, and the page says what to do.

const button = document.getElementById("print");
button.hidden = false;
button.addEventListener("click", () => window.print());
