// One formula a line comes in, one answer a line goes out, both as JSON.
import { createInterface } from "node:readline";
import katex from "katex";

for await (const line of createInterface({ input: process.stdin })) {
    const { tex, display } = JSON.parse(line);
    let answer;
    try {
        answer = { html: katex.renderToString(tex, { displayMode: display, throwOnError: true, strict: "error" }) };
    } catch (error) {
        answer = { error: error.message };
    }
    console.log(JSON.stringify(answer));
}
