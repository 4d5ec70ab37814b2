"use strict";
/* The page around engine.js: what it shows is a function of `state`, which the part of the address after # spells out. */
(() => {
    const at = id => document.getElementById(id);
    const model = window.FP_DISTRIBUTIONS ?? { model: "", tokens: [], contexts: [] };
    const MOST_TOKENS = 40, MOST_DRAWS = 100000, SHOWN = 20, DEFAULT = "peaked";
    const words = ["the", "a", "this", "that", "one", "some", "every", "no"];
    const PRESETS = {
        flat: ["Flat: all alike", words, words.map(() => 0)],
        peaked: ["Peaked: one stands out", words, [4, 1.5, 1, 0.5, 0, -0.5, -1, -2]],
        "two-modes": ["Two modes: it could be either", ["yes", "no", "perhaps", "never", "often", "maybe", "so", "if"],
            [3, 2.8, -0.5, -0.6, -0.8, -1, -1.2, -1.5]],
        "long-tail": ["Long tail: Zipf’s law", Array.from({ length: 24 }, (_, i) => `word ${i + 1}`),
            Array.from({ length: 24 }, (_, i) => Math.round(-1.1 * Math.log(i + 1) * 1000) / 1000)],
        ties: ["Ties: who stays at the border?", words, [1, 2, 1, 0, 1, 2, 0, 1]],
        cut: ["Cut tokens: scores of −∞", words, [2, -Infinity, 1, -Infinity, 0.5, 0, -Infinity, -1]],
    };
    const CUTS = { k: "top-k", p: "top-p", m: "min-p" };
    const START = { k: 3, p: 0.9, m: 0.1 }; // where a cut begins when it is switched on

    let state, view, shown = SHOWN;
    let uniforms = { seed: null, generator: null, values: [] };

    // --- the state, and the address that spells it ------------------------------------------------------------------

    const contextOf = source => model.contexts.find(context => context.id === source);
    const byHand = () => !contextOf(state.source);

    function withSource(old, source) {
        const context = contextOf(source);
        const [, tokens, logits] = context ? ["", model.tokens, context.logits] : PRESETS[source];
        return { ...old, source, tokens: tokens.slice(), logits: logits.slice(), k: clampK(old.k, tokens.length) };
    }

    function clampK(k, V) {
        return k === null ? null : Math.min(k, V);
    }

    function defaults() {
        return withSource({ t: 1, k: null, p: null, m: null, seed: 7, n: 0 }, DEFAULT);
    }

    function spell() {
        const out = new URLSearchParams({ s: state.source });
        if (state.t !== 1) out.set("t", state.t);
        for (const name of Object.keys(CUTS)) if (state[name] !== null) out.set(name, state[name]);
        if (state.seed !== 7) out.set("seed", state.seed);
        if (state.n) out.set("n", state.n);
        if (state.source === "hand") {
            state.tokens.forEach(token => out.append("w", token));
            out.set("z", state.logits.map(z => (z === -Infinity ? "-inf" : z)).join(","));
        }
        return `#${out}`;
    }

    /** The state that an address spells; what it gets wrong is left at its default and named. */
    function read(hash) {
        const given = new URLSearchParams(hash.slice(1));
        let next = defaults();
        const wrong = [];
        const source = given.get("s");
        if (source === "hand") {
            const tokens = given.getAll("w"), logits = (given.get("z") ?? "").split(",").map(number);
            const fits = tokens.length === logits.length && tokens.length <= MOST_TOKENS;
            if (fits && logits.every(z => z < Infinity) && logits.some(Number.isFinite)) {
                next = { ...next, source, logits, tokens: tokens.map(token => token.slice(0, 24)) };
            } else {
                wrong.push("its scores");
            }
        } else if (source !== null) {
            if (Object.hasOwn(PRESETS, source) || contextOf(source)) next = withSource(next, source);
            else wrong.push(`the scores “${source}”, which this page does not have`);
        }
        const take = (name, fits) => {
            if (!given.has(name)) return;
            const value = number(given.get(name));
            if (fits(value)) next[name] = value;
            else wrong.push(`${name}=${given.get(name)}`);
        };
        take("t", t => t >= 0 && t < Infinity);
        take("k", k => Number.isInteger(k) && k >= 1 && k <= next.logits.length);
        take("p", p => p > 0 && p <= 1);
        take("m", m => m > 0 && m <= 1);
        take("seed", seed => Number.isSafeInteger(seed) && seed >= 0);
        take("n", n => Number.isInteger(n) && n >= 0 && n <= MOST_DRAWS);
        return { next, wrong };
    }

    /** A number as people write it; NaN if it is none. */
    function number(text) {
        const plain = text.trim().replace(/[−–]/g, "-").replace("∞", "inf").toLowerCase();
        if (/^[-+]?inf(inity)?$/.test(plain)) return plain.startsWith("-") ? -Infinity : Infinity;
        return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(plain) ? Number(plain) : NaN;
    }

    // --- numbers for people -----------------------------------------------------------------------------------------

    function share(p) {
        if (p === 0) return "0 %";
        return p >= 1e-4 ? `${(100 * p).toFixed(2)} %` : p.toExponential(1);
    }

    function plain(x) {
        return x === -Infinity ? "−∞" : String(x).replace("-", "−");
    }

    /** A token with its spaces and other marks made visible. */
    function visible(token) {
        return token.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥")
            .replace(/[\x00-\x1f\x7f]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
    }

    /** What a token is called: a model's by its characters, one's own by its name. */
    function called(id) {
        return byHand() ? state.tokens[id] || `token ${id + 1}` : visible(state.tokens[id]);
    }

    // --- what follows from the state --------------------------------------------------------------------------------

    function settings() {
        return { temperature: state.t, topK: state.k, topP: state.p, minP: state.m };
    }

    /** The counts of the first n draws, and the ids of the last ones. The uniform numbers of a seed are kept. */
    function drawAll(V) {
        if (uniforms.seed !== state.seed) {
            uniforms = { seed: state.seed, generator: new engine.Generator(state.seed), values: [] };
        }
        while (uniforms.values.length < state.n) uniforms.values.push(uniforms.generator.random());
        let next = 0;
        const draw = engine.drawer(state.logits, settings()), kept = { random: () => uniforms.values[next++] };
        const counts = new Array(V).fill(0), last = [];
        for (let i = 0; i < state.n; i++) {
            const id = draw(kept);
            counts[id] += 1;
            if (i >= state.n - 20) last.push(id);
        }
        return { counts, last };
    }

    function measure(name, p, kept) {
        const H = engine.entropy(p);
        return { name, tokens: p.filter(q => q > 0).length, kept, H, bits: H / Math.LN2, effective: Math.exp(H) };
    }

    function compute() {
        const before = engine.softmax(state.logits);
        const table = [measure("softmax", before, null)];
        let p = before;
        for (const step of engine.stages(state.logits, settings())) {
            const left = p.reduce((sum, q, i) => (step.logits[i] > -Infinity ? sum + q : sum), 0);
            p = engine.softmax(step.logits);
            table.push(step.name === "temperature"
                ? measure(`T = ${plain(state.t)}`, p, null) : measure(step.name, p, Math.min(left, 1)));
        }
        const { counts, last } = drawAll(before.length);
        const drawn = state.n ? counts.map(count => count / state.n) : null;
        return {
            before, after: p, table, counts, last, drawn,
            distance: state.n ? engine.totalVariation(drawn, p) : null,
            expected: state.n ? engine.expectedVariation(p, state.n) : null,
        };
    }

    // --- showing it -------------------------------------------------------------------------------------------------

    function make(tag, properties = {}, ...children) {
        const element = Object.assign(document.createElement(tag), properties);
        element.append(...children);
        return element;
    }

    /** The ids that have rows of their own, and whether one row stands for the others. */
    function listed() {
        const ids = state.logits.map((_, i) => i);
        if (byHand()) return ids;
        return ids.sort((a, b) => state.logits[b] - state.logits[a] || a - b).slice(0, shown);
    }

    function buildRows() {
        const rows = at("rows"), hand = byHand(), ids = listed();
        rows.classList.toggle("fixed", !hand);
        rows.replaceChildren(...ids.map((id, place) => {
            const scores = make("div", { className: "scores" });
            if (hand) {
                const named = (what, more) => ({ ...more, ariaLabel: `${what} of token ${place + 1}` });
                scores.append(
                    make("input", named("Name", { className: "name", maxLength: 24, autocomplete: "off" })),
                    make("input", named("Logit slider", { className: "slide", type: "range", min: -10, max: 10, step: 0.1 })),
                    make("input", named("Logit", { className: "logit number", inputMode: "decimal", autocomplete: "off" })),
                    make("button", { type: "button", className: "remove", textContent: "×", ariaLabel: `Remove token ${place + 1}` }),
                );
            } else {
                scores.append(
                    make("span", { className: "token number", textContent: called(id) }),
                    make("span", { className: "score number", textContent: plain(state.logits[id]), title: "logit" }),
                );
            }
            return row(scores, id);
        }));
        if (!hand && ids.length < state.logits.length) {
            const rest = make("span", { textContent: `the other ${state.logits.length - ids.length} tokens` });
            rows.append(row(make("div", { className: "scores" }, rest), "others"));
        }
        at("add").hidden = !hand;
        at("add").disabled = state.logits.length >= MOST_TOKENS;
        at("more").hidden = hand || shown >= 200;
        at("take").hidden = hand;
        rows.querySelectorAll(".remove").forEach(button => (button.disabled = state.logits.length === 1));
        if (hand) ids.forEach(fillRow);
    }

    function row(scores, id) {
        const bars = make("div", { className: "bars", ariaHidden: "true" },
            ...["before", "after", "drawn"].map(className => make("i", { className })));
        const shares = make("div", { className: "shares" }, ...["before", "after", "drawn"].map(word =>
            make("span", {}, make("span", { className: "visually-hidden", textContent: `${word} ` }), make("span", { className: `share-${word}` }))));
        const item = make("li", {}, scores, bars, shares);
        item.dataset.id = id;
        return item;
    }

    /** A row's fields, but not the one that is being typed in. */
    function fillRow(id) {
        const item = at("rows").children[id];
        const fill = (selector, value) => {
            const field = item.querySelector(selector);
            if (field !== document.activeElement || field.type === "range") field.value = value;
        };
        fill(".name", state.tokens[id]);
        fill(".slide", Math.max(-10, Math.min(10, state.logits[id])));
        fill(".logit", state.logits[id] === -Infinity ? "-inf" : state.logits[id]);
        item.querySelector(".slide").ariaValueText = plain(state.logits[id]);
    }

    function showShares() {
        const rows = [...at("rows").children], { before, after, drawn } = view;
        const own = new Set(rows.map(item => item.dataset.id));
        const others = p => p.reduce((sum, q, i) => (own.has(String(i)) ? sum : sum + q), 0);
        const values = rows.map(({ dataset: { id } }) =>
            [before, after, drawn].map(p => (p === null ? null : id === "others" ? others(p) : p[id])));
        const longest = Math.max(...values.flat());
        rows.forEach((item, i) => {
            ["before", "after", "drawn"].forEach((word, j) => {
                const value = values[i][j], bar = item.querySelector(`.bars > .${word}`);
                bar.style.width = value === null ? "0" : `${100 * value / longest}%`;
                bar.style.visibility = value ? "" : "hidden";
                item.dataset[word] = value === null ? "" : value;
                item.querySelector(`.share-${word}`).textContent =
                    value === null ? "" : word === "after" && value === 0 ? "cut" : share(value);
            });
            item.classList.toggle("cut", values[i][1] === 0);
        });
        at("scale").textContent = `The longest bar is ${share(longest)}.`;
    }

    function showTable() {
        at("stages").replaceChildren(...view.table.map(step => {
            const cells = [step.tokens, step.kept === null ? "" : share(step.kept), step.H.toFixed(3), step.bits.toFixed(3),
                step.effective.toFixed(2)];
            const line = make("tr", {}, make("th", { scope: "row", textContent: step.name }),
                ...cells.map(cell => make("td", { textContent: cell })));
            Object.assign(line.dataset, { entropy: step.H, bits: step.bits, effective: step.effective, kept: step.kept ?? 1 });
            return line;
        }));
    }

    const toTemperature = position => (position === 0 ? 0 : Number((10 ** ((position - 50) / 40)).toPrecision(3)));
    const toPosition = t => (t === 0 ? 0 : Math.max(1, Math.min(100, Math.round(50 + 40 * Math.log10(t)))));

    let curve = { logits: null, heights: [], top: 1 };
    function showCurve() {
        if (curve.logits !== state.logits) {
            const heights = Array.from({ length: 100 }, (_, i) =>
                engine.entropy(engine.distribution(state.logits, { temperature: toTemperature(i + 1) })));
            curve = { logits: state.logits, heights, top: Math.max(Math.log(state.logits.length), 1e-9) };
        }
        const x = position => 6 + 308 * position / 100, y = H => 98 - 88 * H / curve.top;
        const H = view.table[1].H, here = toPosition(state.t);
        const svg = at("curve");
        svg.querySelector("path").setAttribute("d",
            curve.heights.map((h, i) => `${i ? "L" : "M"}${x(i + 1).toFixed(1)} ${y(h).toFixed(1)}`).join(""));
        const place = (selector, values) =>
            Object.entries(values).forEach(([name, value]) => svg.querySelector(selector).setAttribute(name, value));
        place("circle", { cx: x(here), cy: y(H) });
        place("line", { x1: x(here), x2: x(here), y1: 98, y2: y(H) });
        svg.setAttribute("aria-label", `Entropy against temperature: from ${curve.heights[0].toFixed(2)} nats when cold to `
            + `${curve.heights[99].toFixed(2)} when hot; at temperature ${plain(state.t)} it is ${H.toFixed(2)}.`);
    }

    function showDraws() {
        const { last, distance, expected } = view;
        at("clear").disabled = state.n === 0;
        document.querySelectorAll("[data-draws]").forEach(button =>
            (button.disabled = state.n + Number(button.dataset.draws) > MOST_DRAWS));
        at("drawn").replaceChildren();
        at("distance").textContent = "";
        for (const name of ["distance", "expected"]) delete at("distance").dataset[name];
        if (state.n === 0) {
            at("drawn").textContent = "Nothing is drawn yet.";
            return;
        }
        at("drawn").append(state.n > last.length ? `The last ${last.length} of ${state.n}: ` : `${state.n} drawn: `,
            ...last.flatMap(id => [make("span", { className: "token number", textContent: called(id) }), " "]));
        Object.assign(at("distance").dataset, { distance, expected });
        at("distance").textContent = `Total variation to the exact distribution: ${distance.toFixed(4)}; `
            + `expected of a sample of ${state.n}: ${expected.toFixed(4)}.`;
    }

    function showSettings() {
        const fill = (field, value) => {
            if (field !== document.activeElement) {
                field.value = value;
                field.removeAttribute("aria-invalid");
            }
        };
        at("source").value = state.source;
        at("source").querySelector("[value=hand]").hidden = state.source !== "hand";
        const context = contextOf(state.source);
        at("about").replaceChildren(...(context
            ? [`What a model expects after “${context.text}”: ${model.model}. This page’s build trained it.`]
            : ["Change a score by its slider or its number; ", make("code", { textContent: "-inf" }), " cuts a token."]));
        fill(at("t"), state.t);
        at("t-slider").value = toPosition(state.t);
        at("t-slider").ariaValueText = String(state.t);
        at("k-slider").max = Math.min(state.logits.length, 100);
        for (const name of Object.keys(CUTS)) {
            const on = state[name] !== null;
            at(`${name}-on`).checked = on;
            at(name).closest(".setting").classList.toggle("off", !on);
            fill(at(name), on ? state[name] : "");
            at(name).placeholder = "off";
            at(`${name}-slider`).value = on ? state[name] : name === "m" ? 0.01 : at(`${name}-slider`).max;
            at(`${name}-slider`).ariaValueText = on ? String(state[name]) : "off";
        }
        fill(at("seed"), state.seed);
    }

    function python() {
        const context = contextOf(state.source), lines = ["import numpy as np"];
        if (context) lines.push("import json, pathlib");
        lines.push("from fp_markov import information, sampling", "from fp_transformer.decoding import distribution", "");
        if (context) {
            lines.push('page = json.loads(pathlib.Path("distributions.js").read_text("utf8").partition("=")[2])  # beside this page',
                "tokens = page[\"tokens\"]", `logits = np.array(page["contexts"][${model.contexts.indexOf(context)}]["logits"])  # ${JSON.stringify(context.text)}`);
        } else {
            lines.push(`tokens = ${JSON.stringify(state.tokens)}`,
                `logits = np.array([${state.logits.map(z => (z === -Infinity ? "-np.inf" : z)).join(", ")}], np.float64)`);
        }
        const none = value => value ?? "None";
        lines.push(`settings = {"temperature": ${state.t}, "top_k": ${none(state.k)}, "top_p": ${none(state.p)}, "min_p": ${none(state.m)}}`,
            "p = distribution(logits, **settings)",
            "H = float(information.entropy(p))",
            "print(H, H / np.log(2), information.perplexity(H))  # nats, bits, effective vocabulary",
            `rng = np.random.default_rng(${state.seed})`,
            `drawn = [int(sampling.draw(logits, rng, **settings)) for _ in range(${state.n})]`,
            `counts = np.bincount(np.array(drawn, int), minlength=${state.logits.length})`,
            "for i in np.argsort(-p, kind=\"stable\")[:20]:",
            "    print(repr(tokens[i]), p[i], counts[i])");
        return lines.join("\n");
    }

    function summary() {
        const last = view.table[view.table.length - 1];
        const cuts = Object.entries(CUTS).filter(([name]) => state[name] !== null).map(([name, word]) => `, ${word} ${state[name]}`);
        const draws = state.n ? ` ${state.n} drawn, total variation ${view.distance.toFixed(4)}.` : "";
        return `Temperature ${plain(state.t)}${cuts.join("")}: ${last.tokens} of ${state.logits.length} tokens left, entropy `
            + `${last.H.toFixed(2)} nats or ${last.bits.toFixed(2)} bits, effective vocabulary ${last.effective.toFixed(1)}.${draws}`;
    }

    let waiting;
    /** Screen readers and the address hear of a change when it has come to rest: browsers slow down those who insist. */
    function tell() {
        clearTimeout(waiting);
        waiting = setTimeout(() => {
            at("status").textContent = summary();
            history.replaceState(null, "", spell());
        }, 300);
        at("link").value = location.href.split("#")[0] + spell();
    }

    function complain(sentence, field) {
        at("problem").textContent = sentence;
        if (field) field.setAttribute("aria-invalid", "true");
    }

    /** Take a new state, if the engine does, and show it. */
    function become(next, { rows = false, field = null } = {}) {
        const old = state;
        state = next;
        try {
            view = compute();
        } catch (error) {
            if (!(error instanceof RangeError)) throw error;
            state = old;
            complain(error.message, field);
            return;
        }
        complain("");
        if (field) field.removeAttribute("aria-invalid");
        showSettings();
        if (rows) buildRows(); else if (byHand()) listed().forEach(fillRow);
        showShares();
        showTable();
        showCurve();
        showDraws();
        at("python").textContent = python();
        tell();
    }

    // --- hands on ---------------------------------------------------------------------------------------------------

    function buildSources() {
        const group = (label, options) => make("optgroup", { label }, ...options.map(([value, textContent]) => make("option", { value, textContent })));
        at("source").append(
            group("By hand", [["hand", "Your own"], ...Object.entries(PRESETS).map(([id, [title]]) => [id, title])]));
        if (model.contexts.length) {
            at("source").append(group("A trained model, after …", model.contexts.map(({ id, text }) => [id, `“${text} …”`])));
        }
    }

    function noNumber(text) {
        if (text.trim() === "") return "A number is needed here.";
        return `“${text}” is no number.${/^\s*[-+−]?\d*,\d+\s*$/.test(text) ? " The decimal sign is a point." : ""}`;
    }

    function onField(id, change) {
        at(id).addEventListener("input", () => {
            const text = at(id).value, value = number(text);
            if (text.trim() === "" && id in CUTS) become({ ...state, [id]: null }, { field: at(id) });
            else if (Number.isNaN(value)) complain(noNumber(text), at(id));
            else change(value);
        });
        at(id).addEventListener("blur", () => {
            complain("");
            showSettings();
        });
    }

    function listen() {
        at("source").addEventListener("change", () => {
            shown = SHOWN;
            become(withSource(state, at("source").value), { rows: true });
        });
        onField("t", t => become({ ...state, t }, { field: at("t") }));
        at("t-slider").addEventListener("input", () => become({ ...state, t: toTemperature(Number(at("t-slider").value)) }));
        for (const name of Object.keys(CUTS)) {
            onField(name, value => become({ ...state, [name]: value }, { field: at(name) }));
            at(`${name}-slider`).addEventListener("input", () => become({ ...state, [name]: Number(at(`${name}-slider`).value) }));
            at(`${name}-on`).addEventListener("change", () => become(
                { ...state, [name]: at(`${name}-on`).checked ? Math.min(START[name], state.logits.length) : null }));
        }
        at("reset").addEventListener("click", () => become({ ...state, t: 1, k: null, p: null, m: null }));
        onField("seed", seed => become({ ...state, seed }, { field: at("seed") }));
        document.querySelectorAll("[data-draws]").forEach(button => button.addEventListener("click", () =>
            become({ ...state, n: state.n + Number(button.dataset.draws) })));
        at("clear").addEventListener("click", () => become({ ...state, n: 0 }));
        at("rows").addEventListener("input", ({ target }) => editRow(target));
        at("rows").addEventListener("focusout", ({ target }) => {
            if (!target.matches(".logit")) return;
            complain("");
            target.removeAttribute("aria-invalid");
            fillRowOnceLeft(target);
        });
        at("rows").addEventListener("click", ({ target }) => {
            if (target.matches(".remove")) removeRow(Number(target.closest("li").dataset.id));
        });
        at("add").addEventListener("click", () => {
            const tokens = [...state.tokens, `token ${state.tokens.length + 1}`];
            become({ ...state, source: "hand", tokens, logits: [...state.logits, 0] }, { rows: true });
            at("rows").lastElementChild.querySelector(".name").focus();
        });
        at("more").addEventListener("click", () => {
            shown += 20;
            become({ ...state }, { rows: true });
        });
        at("take").addEventListener("click", () => {
            const ids = listed().slice(0, 12);
            const tokens = ids.map(id => visible(state.tokens[id]).slice(0, 24)), logits = ids.map(id => state.logits[id]);
            become({ ...state, source: "hand", tokens, logits, k: clampK(state.k, ids.length) }, { rows: true });
            at("source").focus();
        });
        at("link").addEventListener("focus", () => at("link").select());
        at("copy").addEventListener("click", copyLink);
        window.addEventListener("hashchange", () => {
            if (location.hash !== spell()) restore();
        });
    }

    function editRow(target) {
        const id = Number(target.closest("li").dataset.id);
        if (target.matches(".name")) {
            become({ ...state, source: "hand", tokens: state.tokens.with(id, target.value) });
        } else {
            const value = number(target.value);
            if (Number.isNaN(value)) complain(noNumber(target.value), target);
            else become({ ...state, source: "hand", logits: state.logits.with(id, value) }, { field: target });
        }
    }

    function fillRowOnceLeft(target) {
        const item = target.closest("li");
        if (item) setTimeout(() => item.isConnected && fillRow(Number(item.dataset.id)));
    }

    function removeRow(id) {
        const without = list => list.filter((_, i) => i !== id);
        become({
            ...state, source: "hand", tokens: without(state.tokens), logits: without(state.logits),
            k: clampK(state.k, state.logits.length - 1),
        }, { rows: true });
        const rows = at("rows").children;
        rows[Math.min(id, rows.length - 1)].querySelector(".remove").focus();
    }

    async function copyLink() {
        const before = at("copy").textContent;
        try {
            await navigator.clipboard.writeText(at("link").value);
        } catch {
            at("link").select(); // a page from a file may have no clipboard of that kind
            document.execCommand("copy");
        }
        at("copy").textContent = "Copied";
        setTimeout(() => (at("copy").textContent = before), 1500);
    }

    function restore() {
        const { next, wrong } = read(location.hash);
        shown = SHOWN;
        become(next, { rows: true });
        if (wrong.length) complain(`This link could not be followed in full; left out: ${wrong.join("; ")}.`);
    }

    buildSources();
    listen();
    restore();
})();
