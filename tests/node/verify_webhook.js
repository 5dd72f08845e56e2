// Checks a signed request. Standard input is {"secret", "headers", "body"}; answers `valid` or why not. Requests that are signed with
// HMAC are checked by the reference library, those with ed25519, which it does not know, by OpenSSL as node has it.

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const modules = path.join(__dirname, "../../.cache/node_modules");
const { Webhook } = require(path.join(modules, "standardwebhooks"));

// What stands before the 32 bytes of a public key in its DER form (RFC 8410).
const PUBLIC_KEY_HEAD = Buffer.from("302a300506032b6570032100", "hex");

function verifyEd25519(secret, headers, body) {
  const raw = Buffer.from(secret.slice("whpk_".length), "base64");
  const key = crypto.createPublicKey({ key: Buffer.concat([PUBLIC_KEY_HEAD, raw]), format: "der", type: "spki" });
  const content = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const items = headers["webhook-signature"].split(" ").filter((item) => item.startsWith("v1a,"));
  const fits = (item) => crypto.verify(null, content, key, Buffer.from(item.slice("v1a,".length), "base64"));
  if (!items.some(fits)) throw new Error("No matching signature found");
}

const { secret, headers, body } = JSON.parse(fs.readFileSync(0, "utf8"));
try {
  if (secret.startsWith("whpk_")) verifyEd25519(secret, headers, body);
  else new Webhook(secret).verify(body, headers);
  console.log("valid");
} catch (error) {
  console.log(error.message);
}
