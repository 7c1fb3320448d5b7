// What is kept in this browser over a reload: the work of each tab, in IndexedDB.

const DATABASE = "velatura", STORE = "kept", TAB = "velatura-tab";
const MOST = 6; // tabs whose work is kept, the latest

const tab = sessionStorage.getItem(TAB) ?? `${Date.now()}-${Math.random()}`;
sessionStorage.setItem(TAB, tab);

const result = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let opened = null;

async function store(mode) {
  opened ??= (() => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: ["name", "tab"] });
    return result(request);
  })();
  return (await opened).transaction(STORE, mode).objectStore(STORE);
}

/** Keep a value under a name, for this tab. A browser that keeps nothing loses only this. */
export async function keep(name, value) {
  try {
    await result((await store("readwrite")).put({ name, tab, at: Date.now(), value }));
    await prune(name);
  } catch (error) {
    console.warn(error);
  }
}

/** What this tab kept under a name, else what any tab kept last; null without. */
export async function recall(name) {
  try {
    const all = await everything(name);
    return (all.find((each) => each.tab === tab) ?? all[0])?.value ?? null;
  } catch (error) {
    console.warn(error);
    return null;
  }
}

/** Everything of a name, the latest first. */
async function everything(name) {
  const all = await result((await store("readonly")).getAll(IDBKeyRange.bound([name], [name, []])));
  return all.sort((one, other) => other.at - one.at);
}

async function prune(name) {
  for (const old of (await everything(name)).slice(MOST)) await result((await store("readwrite")).delete([name, old.tab]));
}
