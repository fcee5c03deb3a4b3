// Reads lists of UI messages, one JSON list a line, and prints what the AI SDK says of each.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { validateUIMessages, convertToModelMessages } = await import(
  pathToFileURL(require.resolve("ai"))
);

for await (const line of createInterface({ input: process.stdin })) {
  let said = "ok";
  try {
    const messages = await validateUIMessages({ messages: JSON.parse(line) });
    await convertToModelMessages(messages);
  } catch (error) {
    said = `${error.name}: ${String(error.message).slice(-300)}`;
  }
  console.log(JSON.stringify(said));
}
