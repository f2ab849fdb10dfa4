// The console's page: enters with the code in its address, then shows what the console tells.

const RETRY = 1000; // milliseconds

const at = (id) => document.getElementById(id);

function element(tag, fields = {}, children = []) {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
}

const counted = (number, one, many) => `${number} ${number === 1 ? one : many}`;

const ordered = (order) => (order === null ? 'no order' : `order ${order}`);

const titled = ({ namespace, name }) => (namespace ? `${namespace}/${name}` : name);

// Text that does not change is not said again.
function say(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function state(text, away) {
  say('state', text);
  at('state').classList.toggle('away', away);
}

// --- The entrance -------------------------------------------------------------------------------

function ask(why) {
  state('Closed', false);
  say('why', why);
  at('board').hidden = true;
  at('entrance').hidden = false;
  at('code').focus();
}

async function enter(code) {
  const headers = { Authorization: `Bearer ${code}` };
  const answer = await fetch('api/enter', { headers }).catch(() => null);
  if (!answer?.ok) {
    const wrong = 'This code does not count (any more). The console prints the right one when it starts.';
    ask(answer ? wrong : 'The console does not answer.');
    return;
  }
  location.replace((await answer.json()).path);
}

// --- The board ----------------------------------------------------------------------------------

function card(policy) {
  const badges = [
    policy.staged === null ? 'enforced' : `staged${policy.staged === 'Set' ? '' : `: ${policy.staged}`}`,
    policy.accepted ? '✓ accepted' : '✕ not accepted',
    `selects ${counted(policy.pods, 'pod', 'pods')}`,
  ];
  if (policy.hosts > 0) badges.push(counted(policy.hosts, 'host endpoint', 'host endpoints'));
  if (policy.stage !== 'normal') badges.push(policy.stage);
  const types = policy.types.length > 0 ? policy.types.join(', ') : 'no direction';
  const parts = [
    element('h4', { textContent: titled(policy) }),
    element('p', { className: 'detail', textContent: `${policy.kind} · ${ordered(policy.order)} · ${types}` }),
    element('p', { className: 'badges' }, badges.map((text) => element('span', { textContent: text }))),
  ];
  if (!policy.accepted) parts.push(element('p', { className: 'why', textContent: policy.reason }));
  const className = ['card', policy.staged !== null && 'staged', !policy.accepted && 'refused'].filter(Boolean).join(' ');
  const id = `policy:${policy.kind}/${titled(policy)}`;
  return element('li', {}, [element('article', { id, className, tabIndex: -1 }, parts)]);
}

function tier(column) {
  const action = `default: ${column.defaultAction}`;
  const detail = column.defined ? `${ordered(column.order)} · ${action}` : `not defined: last · ${action}`;
  const title = element('h3', { textContent: column.name, id: `tier:${column.name}` });
  const list = column.policies.length > 0
    ? element('ol', {}, column.policies.map(card))
    : element('p', { className: 'detail', textContent: 'no policies' });
  const section = element('section', { className: 'tier' }, [
    title, element('p', { className: 'detail', textContent: detail }), list,
  ]);
  section.setAttribute('aria-labelledby', title.id);
  return section;
}

function row({ name, pods }) {
  return element('tr', {}, [element('td', { textContent: name }), element('td', { textContent: pods })]);
}

function problem({ kind, namespace, name, reason }) {
  return element('li', { textContent: `${kind} ${titled({ namespace, name })}: ${reason}` });
}

// One policy is in the order of the tabulator; the arrow keys lead to the others.
function keepFocus(focused) {
  const kept = focused && at(focused);
  const stop = kept ?? at('tiers').querySelector('.card');
  if (stop) stop.tabIndex = 0;
  kept?.focus({ preventScroll: true });
}

function describe(board) {
  if (board.away !== null) {
    const since = new Date(board.away.since).toLocaleString();
    return `Away since ${since}: ${board.away.reason}. This is what was last known.`;
  }
  if (!board.inSync) return 'Reading …';
  const missing = board.missing.length > 0 ? ` (does not have ${board.missing.join(', ')})` : '';
  return `Live: ${board.server}${missing}`;
}

function show(board) {
  at('entrance').hidden = true;
  at('board').hidden = false;
  state(describe(board), board.away !== null);
  const policies = board.tiers.reduce((sum, column) => sum + column.policies.length, 0);
  say('summary', `${counted(policies, 'policy', 'policies')} in ${counted(board.tiers.length, 'tier', 'tiers')}`);
  const focused = document.activeElement?.closest?.('.card')?.id;
  at('tiers').replaceChildren(...board.tiers.map(tier));
  at('trouble').hidden = board.problems.length === 0;
  at('problem-list').replaceChildren(...board.problems.map(problem));
  at('nodes').replaceChildren(...board.nodes.map(row));
  at('namespaces').replaceChildren(...board.namespaces.map(row));
  keepFocus(focused);
  document.body.dataset.revision = board.revision;
}

function beside(from, key) {
  const columns = [...at('tiers').children].map((column) => [...column.querySelectorAll('.card')]);
  const x = columns.findIndex((cards) => cards.includes(from));
  const y = columns[x].indexOf(from);
  const inColumn = (cards) => cards?.[Math.min(y, cards.length - 1)];
  switch (key) {
    case 'ArrowUp': return columns[x][y - 1];
    case 'ArrowDown': return columns[x][y + 1];
    case 'ArrowLeft': return inColumn(columns.slice(0, x).findLast((cards) => cards.length > 0));
    case 'ArrowRight': return inColumn(columns.slice(x + 1).find((cards) => cards.length > 0));
    case 'Home': return columns[x][0];
    case 'End': return columns[x].at(-1);
    default: return undefined;
  }
}

function move(event) {
  const from = event.target.closest('.card');
  const to = from && beside(from, event.key);
  if (!to) return;
  event.preventDefault();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

// --- The stream ---------------------------------------------------------------------------------

function follow() {
  const events = new EventSource('api/events');
  events.addEventListener('board', (event) => show(JSON.parse(event.data)));
  events.addEventListener('error', async () => {
    events.close();
    const answer = await fetch('api/board').catch(() => null);
    if (answer?.status === 401) {
      ask('Open the address that the console printed when it started, or type the code that is in it.');
      return;
    }
    if (answer?.ok) show(await answer.json());
    else state('The console does not answer. This is what was last known.', true);
    setTimeout(follow, RETRY);
  });
}

at('tiers').addEventListener('keydown', move);
at('entrance').addEventListener('submit', (event) => {
  event.preventDefault();
  enter(at('code').value.trim());
});
addEventListener('hashchange', () => location.reload());

const code = new URLSearchParams(location.hash.slice(1)).get('code');
if (code === null) {
  follow();
} else {
  history.replaceState(null, '', location.pathname);
  enter(code);
}
