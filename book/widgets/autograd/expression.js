// Reads expressions in Python's notation: + - * / **, names, numbers, brackets, the functions of a value, dot, and lines
// `name = ...` that give a result a name. Runs in browsers, also from file://, and in Node.
"use strict";
((autograd) => {
    const FUNCTIONS = ["exp", "log", "tanh", "sigmoid", "relu"];
    const ELSE = { sqrt: "u ** 0.5", ln: "log(u)", pow: "u ** v", square: "u ** 2", softplus: "log(1 + exp(u))", max: "relu(u - v) + v", abs: "relu(u) + relu(-u)" };
    const SIGNS = { "^": "a power is written **", "×": "a product is written *", "·": "a product is written *", "÷": "a quotient is written /", "−": "a minus is written -", "√": "a root is written u ** 0.5", "²": "a square is written ** 2", "³": "a cube is written ** 3" };
    const TOKEN = /(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[\p{L}_][\p{L}\p{Nd}_]*)|(?<sign>\*\*|[-+*/()[\],.=;\n])/uy;
    const DEEPEST = 100, LONGEST = 4000;

    /** Why an expression has no value, in words, and where in the text: from `at` up to `end`. */
    class Stop extends Error {
        constructor(message, at, end = at + 1) {
            super(message);
            Object.assign(this, { at, end });
        }
    }

    function tokens(text) {
        const found = [], brackets = [];
        for (let at = 0; at < text.length;) {
            if (/[ \t\r]/.test(text[at])) { at++; continue; }
            TOKEN.lastIndex = at;
            const match = TOKEN.exec(text);
            if (!match) {
                const sign = String.fromCodePoint(text.codePointAt(at));
                throw new Stop(`“${sign}” has no meaning here${SIGNS[sign] ? `: ${SIGNS[sign]}` : ""}.`, at, at + sign.length);
            }
            const kind = ["number", "name", "sign"].find((k) => match.groups[k] !== undefined);
            let word = match[0];
            if ("([".includes(word)) brackets.push(word);
            if (")]".includes(word)) brackets.pop();
            if (word === "\n") word = brackets.length ? "" : ";"; // as in Python: within brackets a line may end anywhere
            if (word) found.push({ kind, word, at, end: at + match[0].length });
            at += match[0].length;
        }
        return [...found, { kind: "end", word: "", at: text.length, end: text.length + 1 }];
    }

    /**
     * The program that a text holds: `lines`, each `{name, tree}` with an empty name for a bare expression, and `inputs`,
     * the names without a line of their own, in the order in which they appear. A tree is `{kind: "number", value}`,
     * `{kind: "name", name}`, `{kind: "call", op, args}` or `{kind: "dot", ws, xs, bias}`, each with `at` and `end`.
     */
    function parse(text) {
        if (text.length > LONGEST) throw new Stop(`At most ${LONGEST} characters can be read.`, LONGEST, text.length);
        const list = tokens(text), lines = [], inputs = new Map(), named = new Set();
        let i = 0, depth = 0;
        const peek = (...words) => list[i].kind === "sign" && words.includes(list[i].word);
        const seen = (t) => t.kind === "end" ? "the text ends" : t.word === ";" ? "the line ends" : `“${t.word}” stands`;
        const here = () => list[i].kind === "end" || list[i].word === ";" ? "" : " here";
        const stop = (needed) => { throw new Stop(`${needed}, but ${seen(list[i])}${here()}.`, list[i].at, list[i].end); };

        function take(word, why) {
            if (!peek(word)) stop(why);
            return list[i++];
        }

        function deeper(rule) {
            if (++depth > DEEPEST) throw new Stop(`Brackets and signs may be nested ${DEEPEST} deep.`, list[i].at, list[i].end);
            const tree = rule();
            depth--;
            return tree;
        }

        function sum() {
            return chain(product, "+", "-");
        }

        function product() {
            return chain(signed, "*", "/");
        }

        function chain(part, ...signs) {
            let tree = part();
            while (peek(...signs)) {
                const { word: op, at, end } = list[i++];
                tree = { kind: "call", op, args: [tree, part()], at, end };
            }
            return tree;
        }

        function signed() {
            if (peek("+")) throw new Stop("A value has no plus sign of its own: leave the + out.", list[i].at);
            if (!peek("-")) return power();
            const { at, end } = list[i++];
            return { kind: "call", op: "neg", args: [deeper(signed)], at, end };
        }

        function power() {
            const base = method();
            if (!peek("**")) return base;
            const { at, end } = list[i++];
            return { kind: "call", op: "**", args: [base, deeper(signed)], at, end };
        }

        function method() {
            let tree = atom();
            while (peek(".")) {
                i++;
                const { word, at, end } = list[i];
                if (!FUNCTIONS.includes(word)) stop(`After the dot one of ${FUNCTIONS.join(", ")} is needed`);
                i++;
                take("(", `${word} is called by brackets: u.${word}()`);
                take(")", `u.${word}() takes nothing between its brackets`);
                tree = { kind: "call", op: word, args: [tree], at, end };
            }
            return tree;
        }

        function atom() {
            const token = list[i], { kind, word, at, end } = token;
            if (peek("(")) return bracket();
            if (kind === "number") return i++, { kind, value: Number(word), at, end };
            if (kind !== "name") stop("A number, a name, a function or an opening bracket is needed");
            i++;
            if (word === "Value" && peek(".") && list[i + 1].word === "dot") return i += 2, dot({ ...token, end: list[i - 1].end });
            if (word === "dot") return dot(token);
            if (FUNCTIONS.includes(word)) {
                if (!peek("(")) stop(`${word} is a function: it needs its argument in brackets, ${word}(u)`);
                return { kind: "call", op: word, args: [bracket()], at, end };
            }
            if (peek("(")) {
                const hint = Object.hasOwn(ELSE, word) ? `Write ${ELSE[word]}.` : `If a product is meant, write ${word} * ( … ).`;
                throw new Stop(`${word} is none of the functions ${FUNCTIONS.join(", ")} and dot. ${hint}`, at, end);
            }
            if (!named.has(word) && !inputs.has(word)) inputs.set(word, at);
            return { kind, name: word, at, end };
        }

        function bracket() {
            const open = take("(", "An opening bracket is needed");
            const tree = deeper(sum);
            take(")", `${missing()} “)” for the bracket ${place(text, open.at)} is needed`);
            return tree;
        }

        function missing() { // what may have been meant where one operand follows another
            return list[i].kind === "number" || list[i].kind === "name" || peek("(") ? "An operation, as * for a product, or" : "A closing";
        }

        function dot({ at, end }) {
            take("(", "dot is called as dot([w1, w2], [x1, x2], b)");
            const ws = factors();
            take(",", "A comma between the lists of dot is needed");
            const xs = factors();
            const bias = peek(",") ? (i++, deeper(sum)) : { kind: "number", value: 0, at, end };
            take(")", "A closing “)” for dot is needed");
            if (ws.length !== xs.length) throw new Stop(`dot needs as many factors on both sides, got ${ws.length} and ${xs.length}.`, at, end);
            return { kind: "dot", ws, xs, bias, at, end };
        }

        function factors() {
            take("[", "dot needs a list of factors, as [u, v]");
            const found = [];
            while (!peek("]")) {
                found.push(deeper(sum));
                if (!peek("]")) take(",", "A comma, or “]” at the end of the list, is needed");
            }
            i++;
            return found;
        }

        for (; list[i].kind !== "end";) {
            if (peek(";")) { i++; continue; }
            let name = "";
            const { kind, word, at, end } = list[i];
            if (kind === "name" && list[i + 1].word === "=") {
                if ([...FUNCTIONS, "dot", "Value"].includes(word)) throw new Stop(`${word} is a function and cannot name a result.`, at, end);
                if (inputs.has(word)) throw new Stop(`${word} was used before this line as an input: give the result another name.`, at, end);
                if (named.has(word)) throw new Stop(`${word} names a result already: give this one another name.`, at, end);
                name = word;
                i += 2;
            }
            const tree = deeper(sum);
            if (peek("=")) throw new Stop("On the left of = a single name is needed.", list[i].at, list[i].end);
            if (!peek(";") && list[i].kind !== "end") stop("An operation, as * for a product, or the end of the line is needed");
            if (inputs.has(name)) throw new Stop(`${name} is needed to compute itself: give the result another name.`, at, end);
            lines.push({ name, tree });
            if (name) named.add(name);
        }
        if (!lines.length) throw new Stop("Write an expression, as x * x + x.", 0);
        return { lines, inputs: [...inputs.keys()] };
    }

    /** Where in a text a place is, in words. */
    function place(text, at) {
        const before = text.slice(0, at).split("\n");
        return `at character ${before.at(-1).length + 1}${text.includes("\n") ? ` of line ${before.length}` : ""}`;
    }

    Object.assign(autograd, { Stop, parse, place, FUNCTIONS });
})(globalThis.autograd ??= {});
