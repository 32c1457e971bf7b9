// A koa app with koa-session2, whose sessions a Flask app shares; koa.py starts it.
//
//   node app.js '{"socket": "<redis-server's>", "cookie": "<name>", "maxAge": <seconds>, "sids": "hex" or "uuid"}'
//
// It prints its port on 127.0.0.1 when it is ready, and ends when its standard input does.
"use strict";

const { randomBytes, randomUUID } = require("node:crypto");
const { createClient } = require("@redis/client");
const Koa = require("koa");
const session = require("koa-session2");

const options = JSON.parse(process.argv[2]);

// koa-session2 calls get, set, destroy, and getID for the visitor whose sid is not in the store.
class RedisStore {
  constructor(client) {
    this.client = client;
  }

  getID(bytes = 24) {
    return options.sids === "uuid" ? randomUUID() : randomBytes(bytes).toString("hex");
  }

  async get(sid) {
    return JSON.parse(await this.client.get(`SESSION:${sid}`)); // a missing record is null, and so is its JSON
  }

  async set(session, { sid = this.getID(), maxAge }) {
    const expiration = { type: "EX", value: maxAge / 1000 }; // koa-session2 counts milliseconds, EX seconds
    await this.client.set(`SESSION:${sid}`, JSON.stringify(session), { expiration });
    return sid;
  }

  async destroy(sid) {
    await this.client.del(`SESSION:${sid}`);
  }
}

// GET: the session. PATCH /a/b: change session.a.b as the JSON says, null removes a key. DELETE: log out.
async function answer(ctx) {
  if (ctx.method === "PATCH") {
    const chunks = [];
    for await (const chunk of ctx.req) chunks.push(chunk);
    let target = ctx.session;
    for (const name of ctx.path.split("/").filter(Boolean)) target = target[name];
    for (const [key, value] of Object.entries(JSON.parse(Buffer.concat(chunks)))) {
      if (value === null) delete target[key];
      else target[key] = value;
    }
  } else if (ctx.method === "DELETE") {
    ctx.session = null;
  }
  ctx.body = { ...ctx.session, refresh: undefined }; // the function that koa-session2 puts there
}

async function main() {
  const client = createClient({ socket: { path: options.socket } });
  client.on("error", (error) => console.error(error));
  await client.connect();
  const app = new Koa();
  app.use(session({ key: options.cookie, store: new RedisStore(client), maxAge: options.maxAge * 1000 }));
  app.use(answer);
  const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
  process.stdin.on("end", () => process.exit()).resume();
}

main();
