// What pages do beside showing what the server sent. All of them are complete without it.

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

// Refreshing stops in tabs that are hidden, and where it would disturb: in a list with ticks,
// and in a form that is being filled in.
document.addEventListener('htmx:before:request', (event) => {
  const part = event.target.closest?.('[data-poll]');
  if (!part || event.target !== part) return;
  const busy = $('input:checked', part) || (part.contains(document.activeElement) && document.activeElement.matches('input:not([type=checkbox]), select'));
  if (document.hidden || busy) event.preventDefault();
});

// A refresh leaves open what the reader has opened.
const opened = new Set();
document.addEventListener('toggle', (event) => {
  const { id, open } = event.target;
  if (id) opened[open ? 'add' : 'delete'](id);
}, true);
document.addEventListener('htmx:after:swap', () => {
  for (const id of opened) {
    const details = document.getElementById(id);
    if (details && !details.open) details.open = true;
  }
  offerCopies();
});

function offerCopies() {
  for (const button of $$('[data-copy][hidden]')) button.hidden = false;
}
offerCopies();

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const source = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = 'Copied';
  } catch { // without TLS there is no clipboard: the text is marked, to be copied by hand
    getSelection().selectAllChildren(source);
    button.textContent = 'Marked';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 2000);
});

// The log.

const lines = $('#lines');
const follow = $('#follow');
const news = $('#newlines');
let unseen = 0;
let last = Number($('.ln:last-child', lines ?? document.createElement('div'))?.id.slice(1) ?? 0);

const following = () => follow?.getAttribute('aria-pressed') === 'true';
const atEnd = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;

function setFollow(on) {
  if (!follow) return;
  follow.setAttribute('aria-pressed', String(on));
  follow.textContent = on ? 'Following' : 'Follow';
  if (on) {
    unseen = 0;
    news.hidden = true;
    lines.scrollTop = lines.scrollHeight;
  }
}

function take(html) {
  const template = document.createElement('template');
  template.innerHTML = html; // the server's own lines, in which all that was in the log is escaped
  for (const line of [...template.content.querySelectorAll('.ln')]) {
    const n = Number(line.id.slice(1));
    if (n <= last) continue; // the connection was cut, and these came before
    last = n;
    lines.append(line);
    unseen++;
  }
  $('#nolines')?.remove();
  for (const total of $$('#log .total')) total.textContent = last;
  if (following()) {
    setFollow(true);
  } else if (unseen > 0) {
    news.hidden = false;
    news.textContent = `${unseen} new ${unseen === 1 ? 'line' : 'lines'}`;
  }
}

if (lines?.hasAttribute('hx-sse:connect')) {
  lines.classList.add('live');
  follow.hidden = false;
  setFollow(!location.hash);
  let before = lines.scrollTop;
  lines.addEventListener('scroll', () => {
    if (lines.scrollTop < before - 2 && !atEnd()) setFollow(false);
    else if (atEnd() && !following()) setFollow(true);
    before = lines.scrollTop;
  });
  follow.addEventListener('click', () => setFollow(!following()));
  news.addEventListener('click', () => setFollow(true));
  lines.addEventListener('lines', (event) => take(event.detail.data));
  lines.addEventListener('restart', () => { lines.replaceChildren(); last = 0; });
  lines.addEventListener('over', () => { follow.hidden = true; });
}

// #L12 and #L12-L40 show lines. One that is on another page is asked for.
function showLines() {
  const match = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
  if (!match || !lines) return;
  const [from, to] = [Number(match[1]), Number(match[2] ?? match[1])];
  const first = document.getElementById(`L${from}`);
  if (!first) {
    const url = new URL(location);
    if (url.searchParams.get('line') !== `${from}-${to}`) {
      url.searchParams.set('line', `${from}-${to}`);
      url.searchParams.delete('m');
      location.replace(url);
    }
    return;
  }
  for (const line of $$('.ln.chosen', lines)) line.classList.remove('chosen');
  for (let n = from; n <= Math.min(to, from + 5000); n++) document.getElementById(`L${n}`)?.classList.add('chosen');
  if (from !== to) first.scrollIntoView({ block: 'center' });
}
addEventListener('hashchange', showLines);
showLines();

lines?.addEventListener('click', (event) => {
  const number = event.target.closest('.no');
  if (!number) return;
  event.preventDefault();
  const n = number.textContent;
  const from = event.shiftKey && /^#L(\d+)/.exec(location.hash)?.[1];
  const url = new URL(location);
  url.searchParams.set('line', from && Number(from) < Number(n) ? `${from}-${n}` : n);
  url.searchParams.delete('m');
  url.hash = from && Number(from) < Number(n) ? `#L${from}-L${n}` : `#L${n}`;
  history.replaceState(null, '', url);
  showLines();
});

// The keyboard: few keys, which the dialog lists.

function move(step) {
  const rows = $$('.jobs .name');
  if (rows.length === 0) return;
  const row = document.activeElement?.closest?.('.jobs tr');
  const at = rows.findIndex((link) => link.closest('tr') === row);
  rows[Math.max(0, Math.min(rows.length - 1, at + step))].focus();
}

const keys = {
  '/': () => $('#search')?.focus(),
  j: () => move(1),
  k: () => move(-1),
  n: () => $('#next-match')?.click(),
  N: () => $('#prev-match')?.click(),
  f: () => follow && !follow.hidden && setFollow(!following()),
  x: () => $('#do-cancel')?.click(),
  '?': () => $('#keys').showModal(),
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea, dialog')) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
document.documentElement.dataset.keys = 'heard';
