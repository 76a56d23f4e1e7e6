// Before anything is drawn: the colours that somebody has chosen for this browser, if they are not the system's.
document.documentElement.dataset.theme = localStorage.getItem("theme") || "";
