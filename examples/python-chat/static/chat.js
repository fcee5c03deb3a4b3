// What a user writes is posted; all that is shown comes from the history and the stream of events.
// Text is set as text, never as HTML.

const url = location.pathname;
const find = (id) => document.getElementById(id);
const list = find('messages');
const log = find('log');
const form = find('composer');
const input = find('text');

let draft = null; // the element of an answer that is being written
let growing = null; // whether one is; null as long as the stream has not told
let posting = false;
let unsent = null; // a message that got no reply, to be sent again under the same id
let editing = null; // the element of the question that is being edited

let events = null;
let cursor = 0; // the version that the page shows
let newest = 0; // the version of the newest message that the page has
let held = 0; // how many messages it has, shown or not
let branches = []; // the ends of what was left by going back

// --- the conversation ---

function textOf(message) {
    return message.parts
        .filter((part) => part.type === 'text')
        .map((part) => part.text)
        .join('');
}

function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
}

function button(className, text, act) {
    const made = element('button', className, text);
    made.type = 'button';
    made.addEventListener('click', act);
    return made;
}

function bubble(role, text) {
    const item = element('li', `message ${role}`, '');
    const speaker = element('span', 'for-readers', role === 'user' ? 'You:' : 'Answer:');
    item.append(speaker, element('p', 'text', text));
    return item;
}

/** Make the element of a message; null for what is not shown, such as the system prompt. */
function made(message) {
    if (message.role !== 'user' && message.role !== 'assistant') return null;
    const item = bubble(message.role, textOf(message));
    item.dataset.place = message.revises ?? message.seq;
    item.dataset.version = message.version;
    if (message.role === 'user') item.append(button('edit', 'Edit', () => edit(item)));
    if (message.id) item.dataset.id = message.id;
    const sent = message.metadata.sent;
    if (sent) {
        const note = `The model was sent ${sent.messages} messages, ${sent.tokens} tokens.`;
        item.append(element('p', 'sent', note));
        item.dataset.fromSeq = sent.from_seq;
    }
    return item;
}

function shown() {
    return [...list.querySelectorAll('[data-version]')];
}

/** Add a new message at the end; what was added before is left out. */
function add(message) {
    if (message.version <= newest) return;
    newest = message.version;
    held += 1;
    const item = made(message);
    if (!item) return;
    if (draft && draft.dataset.id === message.id) removeDraft();
    keepAtEnd(() => list.insertBefore(item, draft));
}

/** Draw the line above which messages were not sent to the model with its last answer. */
function drawHorizon() {
    list.querySelector('.horizon')?.remove();
    const answers = list.querySelectorAll('[data-from-seq]');
    if (!answers.length) return;
    const fromSeq = Number(answers[answers.length - 1].dataset.fromSeq);
    const all = shown();
    const at = all.findIndex((item) => Number(item.dataset.place) >= fromSeq);
    const isEarlier = at > 0 || !find('earlier').hidden;
    if (at < 0 || !isEarlier) return;
    list.insertBefore(
        element('li', 'horizon', 'messages above this line are no longer sent to the model'),
        all[at],
    );
}

/** Change the page; who was reading the end of the conversation goes on reading it. */
function keepAtEnd(change) {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    change();
    drawHorizon();
    find('welcome').hidden = list.children.length > 0;
    if (atEnd) log.scrollTop = log.scrollHeight;
}

// --- the answer that is being written ---

function grow(event) {
    growing = true;
    if (shown().some((item) => item.dataset.id === event.id)) return; // it is complete already
    keepAtEnd(() => {
        if (draft?.dataset.id !== event.id) {
            removeDraft();
            tell('');
            draft = bubble('assistant', '');
            draft.classList.add('draft');
            draft.dataset.id = event.id;
            list.append(draft);
        }
        draft.querySelector('.text').append(event.text);
    });
}

function removeDraft() {
    draft?.remove();
    draft = null;
}

// --- events ---

const received = {
    message: ({ message }) => add(message),
    path: () => show(), // it has become another: an edit, a new answer, or a previous one
    context({ used_tokens: used, token_budget: budget }) {
        const meter = find('meter');
        meter.max = budget;
        meter.high = budget * 0.7;
        meter.value = used;
        find('used').textContent = `${used} of ${budget} tokens`;
    },
    answer(event) {
        if (event.state === 'growing') {
            grow(event);
        } else {
            growing = false;
            if (event.state === 'failed') removeDraft();
            tell(event.error ?? '');
        }
    },
};

function follow() {
    events = new EventSource(`${url}/events?cursor=${cursor}`);
    // The browser connects again by itself, from the last id on. A draft is told from its beginning.
    events.onopen = () => {
        removeDraft();
        growing = null;
        tell('');
        update();
    };
    events.onerror = () => {
        const isClosed = events.readyState === EventSource.CLOSED; // there was another answer
        tell(
            isClosed
                ? 'The conversation is not available. Reload the page to try again.'
                : 'The connection is lost; trying again …',
        );
        update();
    };
    events.onmessage = ({ data, lastEventId }) => {
        const event = JSON.parse(data);
        cursor = Number(lastEventId) || cursor;
        received[event.type](event);
        update();
    };
}

function tell(reason) {
    find('reason').textContent = reason;
}

/** Bring buttons and notices in line with what is going on. */
function update() {
    const unanswered = growing === false && !draft && shown().at(-1)?.classList.contains('user');
    if (unanswered && !find('reason').textContent) tell('There is no answer yet.');
    find('again').hidden = !unanswered;
    find('notice').hidden = !find('reason').textContent;
    find('send').disabled = growing === true || posting;
    find('send').textContent = editing ? 'Save' : 'Send';
    find('cancel').hidden = !editing;
    for (const one of document.querySelectorAll('.edit, #actions button')) {
        one.disabled = growing !== false || posting;
    }
    find('regenerate').hidden = !shown().at(-1)?.classList.contains('assistant');
    find('previous').hidden = branch(-1) === undefined;
    find('next').hidden = branch(+1) === undefined;
    list.setAttribute('aria-busy', String(growing !== false));
}

// --- what the user does ---

/** Give the end of the branch before or after the one that is shown, in the order they were made. */
function branch(step) {
    const last = shown().at(-1);
    // A question without an answer is about to have the newest one.
    const own = last?.classList.contains('assistant') ? Number(last.dataset.version) : Infinity;
    const ends = branches.filter((end) => (step < 0 ? end < own : end > own));
    return step < 0 ? ends.at(-1) : ends[0];
}

/** Say where to go back to; it is refused if there is something that the page does not show. */
function backTo(version) {
    return { to_version: version, if_version: cursor };
}

/** The version before a message: there, its conversation ends with the message before it. */
function before(item) {
    return Number(item.dataset.version) - 1;
}

function edit(item) {
    editing = item;
    input.value = item?.querySelector('.text').textContent ?? '';
    input.focus();
    update();
}

/** Post what a button asks for, and tell if it was refused. */
async function ask(path, body) {
    posting = true;
    tell('');
    update();
    const refused = await post(path, body);
    posting = false;
    if (refused) tell(refused);
    update();
    return !refused;
}

/** Post, and give the reason of a refusal; null if there is none. */
async function post(path, body) {
    try {
        const response = await fetch(url + path, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify(body),
        });
        return response.ok ? null : (await response.json()).error;
    } catch {
        return 'The server did not answer. What you wrote is still here.';
    }
}

function newId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text || growing || posting) return;
    // One that is sent again has the same id, so that it is stored once. An edit takes the place of
    // what was there, however often it is sent.
    if (editing || unsent?.text !== text) unsent = { id: newId(), text };
    const back = editing ? { back: backTo(before(editing)) } : {};
    if (!(await ask('/messages', { ...unsent, ...back }))) return;
    unsent = null;
    edit(null);
});

input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
});

find('again').addEventListener('click', () => ask('/answer', {}));
find('cancel').addEventListener('click', () => edit(null));
find('regenerate').addEventListener('click', () =>
    ask('/answer', { back: backTo(before(shown().at(-1))) }),
);
find('previous').addEventListener('click', () => ask('/rewind', { back: backTo(branch(-1)) }));
find('next').addEventListener('click', () => ask('/rewind', { back: backTo(branch(+1)) }));

find('earlier').addEventListener('click', async () => {
    const height = log.scrollHeight;
    const page = await read(held);
    const first = shown()[0]?.dataset.place ?? Infinity; // what has come since moves the page
    const earlier = page.messages.filter((one) => (one.revises ?? one.seq) < first);
    held += earlier.length;
    keepAtEnd(() => list.prepend(...earlier.map(made).filter((item) => item)));
    log.scrollTop += log.scrollHeight - height;
});

/** Read the messages before the newest so many. */
async function read(offset) {
    const response = await fetch(`${url}/messages?offset=${offset}`);
    const page = await response.json();
    if (!response.ok) throw new Error(page.error);
    find('earlier').hidden = !page.has_earlier;
    return page;
}

/** Show the conversation as it is now, and follow it from there. */
async function show() {
    events?.close();
    try {
        const page = await read(0);
        ({ cursor, branches } = page);
        held = page.messages.length;
        newest = Math.max(0, ...page.messages.map((message) => message.version));
        draft = null;
        list.replaceChildren(...page.messages.map(made).filter((item) => item));
        editing = shown().find((item) => item.dataset.version === editing?.dataset.version) ?? null;
        keepAtEnd(() => {});
        log.scrollTop = log.scrollHeight;
        follow();
    } catch (error) {
        tell(`${error.message} Reload the page to try again.`);
        update();
    }
}

find('name').textContent = decodeURIComponent(url.split('/').at(-1));
show();
