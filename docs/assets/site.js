// What scrolls sideways can be reached by keyboard, also where the theme changes its mind.
const scrolling = 'pre > code, .md-typeset__scrollwrap, p:has(> img)';

function reach() {
  for (const box of document.querySelectorAll(scrolling)) {
    if (box.getAttribute('tabindex') !== '0') box.setAttribute('tabindex', '0');
  }
}

const changes = { attributeFilter: ['tabindex'], childList: true, subtree: true };
new MutationObserver(reach).observe(document.body, changes);
reach();
