// node-wot as a stranger: does what it is told on its standard input, a JSON object a line, and answers in kind.
//
//   {"id": 1, "do": "walk", "url": …}                → {"id": 1, "result": …} or {"id": 1, "error": …}
//   what is observed or subscribed to comes by itself: {"heard": name, "data": …}
const readline = require("node:readline");
const { JsonCodec, Servient } = require("@node-wot/core");
const { HttpClientFactory } = require("@node-wot/binding-http");

const servient = new Servient();
servient.addClientFactory(new HttpClientFactory({}));
servient.addMediaType(new JsonCodec("application/merge-patch+json"));
const described = new Map();
const things = new Map();
const open = new Map();
let wot, token;

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const valueOf = async (output) => (output === undefined ? null : await output.value());

async function consume(td) {
  servient.addCredentials({ [td.id]: { token } });
  described.set(td.id, td);
  things.set(td.id, await wot.consume(td));
}

// Asked for a form by its index, node-wot signs only the first request of a consumed Thing: so each gets its own.
async function chosen(id, options) {
  if (options?.formIndex === undefined) return things.get(id);
  return wot.consume(described.get(id));
}

const listener = (name) => async (output) => {
  try {
    say({ heard: name, data: await valueOf(output) });
  } catch (error) {
    say({ heard: name, error: String(error) });
  }
};
const trouble = (name) => (error) => say({ heard: name, error: String(error) });

const work = {
  start: async (asked) => {
    token = asked.token;
    wot = await servient.start();
    return true;
  },
  // the public description of the directory, its property "things" with our token, and every Thing in it consumed
  walk: async ({ url }) => {
    const td = await wot.requestThingDescription(url);
    await consume(td);
    const found = [];
    for await (const one of await wot.exploreDirectory(url)) {
      await consume(one);
      found.push(one.id);
    }
    return { directory: td["@type"], id: td.id, found };
  },
  td: async ({ thing }) => described.get(thing),
  read: async ({ thing, name, options }) => valueOf(await (await chosen(thing, options)).readProperty(name, options)),
  readAll: async ({ thing, names }) => {
    const consumed = things.get(thing);
    const found = names ? await consumed.readMultipleProperties(names) : await consumed.readAllProperties();
    const values = {};
    for (const [name, output] of found) values[name] = await output.value();
    return values;
  },
  write: async ({ thing, name, value, options }) => {
    await things.get(thing).writeProperty(name, value, options);
    return true;
  },
  writeMany: async ({ thing, values }) => {
    await things.get(thing).writeMultipleProperties(new Map(Object.entries(values)));
    return true;
  },
  invoke: async ({ thing, name, input, options }) =>
    valueOf(await (await chosen(thing, options)).invokeAction(name, input === null ? undefined : input, options)),
  // without a value: of an action that has no output, or was cancelled
  act: async ({ thing, name, input, options }) => {
    await (await things.get(thing).invokeAction(name, input, options)).arrayBuffer();
    return true;
  },
  cancel: async ({ thing, name, options }) => {
    await (await (await chosen(thing, options)).invokeAction(name, undefined, options)).arrayBuffer();
    return true;
  },
  // heard under its own name, or under another where several are heard that have one name
  observe: async ({ thing, name, options, as = name }) => {
    open.set(as, await (await chosen(thing, options)).observeProperty(name, listener(as), trouble(as), options));
    return true;
  },
  subscribe: async ({ thing, name, options }) => {
    open.set(name, await things.get(thing).subscribeEvent(name, listener(name), trouble(name), options));
    return true;
  },
  end: async ({ name }) => {
    await open.get(name).stop();
    return open.delete(name);
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const asked = JSON.parse(line);
  try {
    say({ id: asked.id, result: await work[asked.do](asked) });
  } catch (error) {
    say({ id: asked.id, error: String(error) });
  }
}).on("close", () => process.exit(0));
