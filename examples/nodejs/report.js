// Reports a failure to celery-recovery from Node.js, without any dependency: one XADD over a plain socket.
//
//   node report.js redis://127.0.0.1:6379/0 '{"service": "shop", "category": "service_unavailable", "message": "no answer"}'
//   node report.js unix:///home/me/hello/.recovery/valkey.sock '{"service": "shop", "category": "service_unavailable"}'
//
// In a service: const { report } = require("./report");  report(url, { service: "shop", category: "service_unavailable" }).catch(console.error);
"use strict";

const net = require("node:net");
const { randomUUID } = require("node:crypto");

const STREAM = "recovery:reports";
const STREAM_LENGTH = "100000"; // entries that wait at most if nobody takes them in
const TIMEOUT = 1000; // milliseconds

/** Put one failure into the stream; resolves with its id, rejects within a second if Redis is away. */
function report(url, failure) {
  const message = { id: randomUUID(), occurred_at: Date.now() / 1000, source: "node", ...failure };
  const { connection, commands } = read(url);
  commands.push(["XADD", STREAM, "MAXLEN", "~", STREAM_LENGTH, "*", "failure", JSON.stringify(message)]);
  return new Promise((resolve, reject) => {
    const socket = net.connect(connection, () => socket.write(commands.map(encode).join("")));
    const timer = setTimeout(() => socket.destroy(new Error("Redis did not answer in time")), TIMEOUT);
    let answer = "";
    socket.setEncoding("utf8");
    socket.on("data", (data) => {
      answer += data;
      const refused = answer.match(/^-(.*)\r\n/m);
      if (refused) socket.destroy(new Error(refused[1]));
      else if (/\$\d+\r\n\d+-\d+\r\n$/.test(answer)) socket.end(() => resolve(message.id)); // the entry's number comes last
    });
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(timer);
      reject(new Error("Redis closed the connection")); // does nothing if it was resolved
    });
  });
}

/** Return where to connect, and what to say before the report. */
function read(url) {
  const { protocol, hostname, port, pathname, username, password } = new URL(url);
  if (protocol === "unix:") return { connection: { path: pathname }, commands: [] };
  if (protocol !== "redis:") throw new Error(`${protocol} is neither redis: nor unix:`);
  const commands = [];
  if (password) commands.push(["AUTH", decodeURIComponent(username) || "default", decodeURIComponent(password)]);
  if (pathname.length > 1) commands.push(["SELECT", pathname.slice(1)]);
  return { connection: { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) || 6379 }, commands };
}

/** Return a command as Redis reads it (RESP): each part with its length in bytes. */
function encode(command) {
  return `*${command.length}\r\n${command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join("")}`;
}

module.exports = { report };

if (require.main === module) {
  const [url, failure] = process.argv.slice(2);
  if (!url || !failure) {
    console.error("usage: node report.js URL FAILURE, where FAILURE is a JSON object with a service");
    process.exit(2);
  }
  Promise.resolve()
    .then(() => report(url, JSON.parse(failure)))
    .then(console.log)
    .catch((error) => {
      console.error(`not reported: ${error.message}`);
      process.exitCode = 1;
    });
}
