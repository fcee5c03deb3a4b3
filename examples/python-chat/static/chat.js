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
    item.dataset.seq = message.seq;
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
    return [...list.querySelectorAll('[data-seq]')];
}

/** Add a new message at the end; what was added before is left out. */
function add(message) {
    const last = shown().at(-1);
    if (last && Number(last.dataset.seq) >= message.seq) return;
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
    const at = all.findIndex((item) => Number(item.dataset.seq) >= fromSeq);
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

function follow(cursor) {
    const events = new EventSource(`${url}/events?cursor=${cursor}`);
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
    events.onmessage = ({ data }) => {
        const event = JSON.parse(data);
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
    list.setAttribute('aria-busy', String(growing !== false));
}

// --- what the user does ---

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
    if (unsent?.text !== text) unsent = { id: newId(), text };
    posting = true;
    tell('');
    update();
    const refused = await post('/messages', unsent);
    posting = false;
    if (refused) {
        tell(refused);
    } else {
        unsent = null;
        input.value = '';
    }
    update();
});

input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
});

find('again').addEventListener('click', async () => {
    tell('');
    update();
    const refused = await post('/answer', {});
    if (refused) tell(refused);
    update();
});

find('earlier').addEventListener('click', async () => {
    const height = log.scrollHeight;
    await showBefore(find('earlier').dataset.before);
    log.scrollTop += log.scrollHeight - height;
});

/** Show the messages before a seq, or the newest ones; gives where to follow from. */
async function showBefore(seq) {
    const response = await fetch(`${url}/messages${seq ? `?before=${seq}` : ''}`);
    const page = await response.json();
    if (!response.ok) throw new Error(page.error);
    list.prepend(...page.messages.map(made).filter((item) => item));
    const first = page.messages[0]?.seq ?? 1;
    find('earlier').dataset.before = first;
    find('earlier').hidden = first === 1;
    keepAtEnd(() => {});
    return page.cursor;
}

find('name').textContent = decodeURIComponent(url.split('/').at(-1));
showBefore(null)
    .then((cursor) => {
        log.scrollTop = log.scrollHeight;
        follow(cursor);
    })
    .catch((error) => {
        tell(`${error.message} Reload the page to try again.`);
        update();
    });
