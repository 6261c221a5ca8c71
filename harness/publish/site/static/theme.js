// Runs before anything is drawn, so that a chosen theme does not flash in the other one first.
(function () {
  "use strict";
  try {
    var theme = window.localStorage.getItem("harness-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (error) {
    // No storage: the system's theme it is.
  }
})();
