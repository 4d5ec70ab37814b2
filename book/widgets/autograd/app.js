// The page: what is given, the step that is shown, and the controls.
"use strict";
(() => {
    const { Stop, arranged, draw, evaluate, formula, g, last, name, parse, place, repr, view } = globalThis.autograd;
    const $ = (id) => document.getElementById(id);
    const PRESETS = [
        ["a neuron", "tanh(w1*x1 + w2*x2 + b)", { w1: -3, x1: 2, w2: 1, x2: 0, b: 6.8813735870195432 }],
        ["logistic loss", "p = sigmoid(w*x + b)\n-(y*log(p) + (1 - y)*log(1 - p))", { w: 0.8, x: 1.5, b: -0.2, y: 1 }],
        ["one node, several uses", "x*x + x", { x: 3 }],
        ["a vanishing chain", "h1 = tanh(w*x)\nh2 = tanh(w*h1)\nh3 = tanh(w*h2)\nh4 = tanh(w*h3)\ntanh(w*h4)", { w: 0.5, x: 1 }],
        ["softmax of two, and its loss", "a = exp(z1)\nb = exp(z2)\n-log(a / (a + b))", { z1: 1, z2: 2 }],
        ["a kink: relu", "relu(x) - 0.1*relu(-x)", { x: 0.5 }],
        ["a small network", "h1 = tanh(dot([a1, a2], [x1, x2], a0))\nh2 = tanh(dot([b1, b2], [x1, x2], b0))\np = dot([c1, c2], [h1, h2], c0)\n(p - y)**2",
            { a1: 0.5, a2: -1, x1: 1, x2: 2, a0: 0.1, b1: -0.7, b2: 0.3, b0: 0, c1: 1.2, c2: -0.8, c0: 0.2, y: 1 }],
    ];
    /** Values by name, of any name: other objects have a `constructor` and a `__proto__` already. */
    const named = (values) => Object.assign(Object.create(null), values);
    const DEFAULTS = [0.5, 2, -1, 1.5, -0.5, 3], LEAST = 0.85, MOST = 2;
    const state = { program: null, nodes: [], values: named(), step: 0, timer: 0, picture: null, scale: 1, shape: "", fitted: true };

    // --- given: the expression and its inputs

    /** Reads the expression, computes all of it, and shows it, or the words why not; `false` then. */
    function compute() {
        const text = $("expression").value;
        let problem = null;
        try {
            const program = parse(text);
            program.inputs.forEach((n, i) => { state.values[n] ??= DEFAULTS[i % DEFAULTS.length]; });
            state.program = program;
            showInputs();
            state.nodes = evaluate(program, state.values);
        } catch (error) {
            if (!(error instanceof Stop)) throw error;
            problem = error;
        }
        explain(text, problem);
        document.body.classList.toggle("stale", problem !== null);
        if (problem) pause();
        state.step = Math.min(state.step, Math.max(end(), 0));
        arrange();
        show();
        return problem === null;
    }

    /** A problem in words, with the line and a mark under the place. */
    function explain(text, problem) {
        $("expression").toggleAttribute("aria-invalid", false);
        if (!problem) return $("problem").replaceChildren();
        $("expression").setAttribute("aria-invalid", "true");
        const start = text.lastIndexOf("\n", problem.at - 1) + 1, line = text.slice(start).split("\n")[0];
        const message = document.createElement("p"), pre = document.createElement("pre"), mark = document.createElement("mark");
        message.textContent = `${problem.message} (${place(text, problem.at)})`;
        const [from, to] = [problem.at - start, Math.max(problem.end - start, problem.at - start + 1)];
        mark.textContent = line.slice(from, to) || "\u00a0";
        pre.append(line.slice(0, from), mark, line.slice(to));
        $("problem").replaceChildren(message, pre);
    }

    function showInputs() {
        const names = state.program.inputs, box = $("inputs");
        if (names.join() !== [...box.children].map((row) => row.dataset.name).join()) {
            box.replaceChildren(...names.map((n, i) => {
                const row = document.createElement("div"), label = document.createElement("label"), number = document.createElement("input"), slider = document.createElement("input"), problem = document.createElement("span");
                row.dataset.name = n;
                row.className = "row input";
                Object.assign(label, { textContent: n, htmlFor: `input-${i}` });
                Object.assign(number, { type: "number", step: "0.1", id: `input-${i}` });
                Object.assign(slider, { type: "range", min: "-5", max: "5", step: "0.05", ariaLabel: `${n}, slider` });
                Object.assign(problem, { className: "problem", role: "status" });
                number.addEventListener("input", () => edit(n, number, slider, problem));
                slider.addEventListener("input", () => edit(n, slider, number, problem));
                row.append(label, number, slider, problem);
                return row;
            }));
        }
        for (const row of box.children) {
            for (const field of row.querySelectorAll("input")) {
                if (field !== document.activeElement || Number(field.value) !== state.values[row.dataset.name]) field.value = state.values[row.dataset.name];
            }
            told(row.querySelector("input"), row.querySelector(".problem"), "");
        }
    }

    function told(field, problem, text) {
        problem.textContent = text;
        if (text) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
    }

    function edit(n, field, other, problem) {
        if (field.value.trim() === "" || !Number.isFinite(Number(field.value))) return told(field, problem, `${n} needs a number, as -0.5 or 1e-3; it stays ${repr(state.values[n])}.`);
        state.values[n] = Number(field.value);
        $("preset").value = "";
        compute();
        remember();
    }

    function load(text, values, step = 0) {
        pause();
        $("expression").value = text;
        $("expression").rows = Math.min(Math.max(text.split("\n").length, 2), 8);
        state.values = named(values);
        state.step = step;
        state.shape = "";
        compute();
        remember();
    }

    // --- the picture

    /** Draws the graph anew if its form has changed or has to run the other way. */
    function arrange() {
        if (!state.nodes.length) return;
        const frame = $("frame"), chosen = $("direction").value, width = frame.clientWidth - 2, height = Math.max(380, 0.62 * innerHeight);
        const shape = JSON.stringify([state.nodes.map((v) => [v.name, v.op, v.operands]), chosen, width]);
        if (shape === state.shape) return;
        state.shape = shape;
        const fit = (p) => Math.min(width / (p.width + 24), height / (p.height + 24), 1.15);
        const found = (chosen ? [chosen === "TB"] : [false, true]).map((vertical) => [vertical, arranged(state.nodes, vertical)]);
        const [vertical, best] = found.reduce((a, b) => fit(b[1]) > fit(a[1]) ? b : a);
        state.picture = draw($("graph"), state.nodes, best, vertical);
        state.fit = fit(best);
        zoom(Math.max(state.fit, LEAST));
    }

    function zoom(scale) {
        const frame = $("frame"), ratio = scale / state.scale;
        const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
        state.scale = Math.min(Math.max(scale, 0.2), MOST);
        $("graph").setAttribute("width", Math.floor(state.picture.width * state.scale));
        $("graph").setAttribute("height", Math.floor(state.picture.height * state.scale));
        $("zoom").textContent = `${Math.round(100 * state.scale)}%`;
        frame.scrollTo(middle[0] * ratio - frame.clientWidth / 2, middle[1] * ratio - frame.clientHeight / 2);
    }

    /** Moves the picture in its frame until a node can be seen. */
    function reveal(k) {
        const frame = $("frame"), box = state.picture.boxes[k], s = state.scale, air = 70;
        const target = (start, size, scroll, room) => start - air < scroll || start + size + air > scroll + room ? start + size / 2 - room / 2 : scroll;
        frame.scrollTo({
            left: target(box.x * s, box.width * s, frame.scrollLeft, frame.clientWidth),
            top: target(box.y * s, box.height * s, frame.scrollTop, frame.clientHeight),
            behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
        });
    }

    // --- steps

    const end = () => state.nodes.length ? last(state.nodes) : 0;

    function show() {
        const stale = document.body.classList.contains("stale"), all = end(), { step } = state;
        for (const [id, off] of [["reset", step === 0], ["back", step === 0], ["forward", step === all], ["end", step === all], ["play", false], ["step", false]])
            $(id).disabled = stale || off;
        Object.assign($("step"), { max: all, value: step });
        $("count").textContent = `${step} of ${all}`;
        if (!state.nodes.length) return;
        const seen = view(state.nodes, step);
        state.picture.fill(seen);
        if (seen.current >= 0 && !stale) reveal(seen.current);
        const [heading, list] = stale ? ["What is shown below belongs to the last expression that could be computed.", []] : seen.said;
        const p = document.createElement("p"), ul = document.createElement("ul");
        p.textContent = heading;
        ul.append(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
        $("said").replaceChildren(p, ...list.length ? [ul] : []);
        table(seen);
    }

    function table(seen) {
        $("table").tBodies[0].replaceChildren(...state.nodes.map((v, k) => {
            const row = document.createElement("tr"), head = document.createElement("th");
            if (seen.current === k) row.setAttribute("aria-current", "step");
            row.dataset.node = name(v);
            head.scope = "row";
            head.textContent = name(v);
            const made = document.createElement("td");
            made.textContent = v.op ? formula(v.op, v.operands.map((j) => name(state.nodes[j]))) : "input";
            row.append(head, cell(seen.made[k] ? v.value : null, "value"), cell(seen.gradients[k], "gradient", !seen.complete[k]), made);
            return row;
        }));
    }

    function cell(x, kind, partial = false) {
        const made = document.createElement("td"), data = document.createElement("data");
        made.className = `right ${kind}`;
        if (x === null) return made;
        Object.assign(data, { value: repr(x), title: repr(x), textContent: g(x, 6) });
        made.append(partial ? "so far " : "", data);
        return made;
    }

    function go(step) {
        if (document.body.classList.contains("stale")) return;
        state.step = Math.min(Math.max(step, 0), end());
        show();
        remember();
    }

    function play() {
        if (state.timer) return pause();
        if (document.body.classList.contains("stale")) return;
        if (state.step === end()) go(0);
        state.timer = setInterval(() => {
            go(state.step + 1);
            if (state.step === end()) pause();
        }, Number($("pace").value));
        $("play").textContent = "Pause";
    }

    function pause() {
        clearInterval(state.timer);
        state.timer = 0;
        $("play").textContent = "Play";
    }

    // --- the address holds expression, inputs and step

    let waiting = 0, written = null; // the fragment that this page has read or written last

    function fragment() {
        const at = state.program.inputs.map((n) => `${n}:${state.values[n]}`).join(",");
        return `#${new URLSearchParams({ f: $("expression").value, at, step: state.step })}`;
    }

    /** Writes the address, not more often than browsers allow while a slider moves. */
    function remember() {
        clearTimeout(waiting);
        if (document.body.classList.contains("stale")) return;
        waiting = setTimeout(() => {
            if (location.hash === written) publish(); // else somebody has just given another address, which is to be read
            $("copied").textContent = "";
        }, 120);
    }

    function publish() {
        history.replaceState(null, "", fragment());
        written = location.hash;
        $("link").value = location.href;
    }

    function restore() {
        written = location.hash;
        const given = new URLSearchParams(written.slice(1)), text = given.get("f"), values = named();
        if (text === null) return choose(0);
        for (const pair of (given.get("at") ?? "").split(",")) {
            const cut = pair.lastIndexOf(":"), x = pair.slice(cut + 1);
            if (cut > 0 && x.trim() && Number.isFinite(Number(x))) values[pair.slice(0, cut)] = Number(x);
        }
        $("preset").value = "";
        load(text, values, Math.max(0, Math.trunc(Number(given.get("step"))) || 0));
    }

    function choose(i) {
        $("preset").value = i;
        load(PRESETS[i][1], PRESETS[i][2]);
    }

    async function copy() {
        publish();
        try {
            await navigator.clipboard.writeText(location.href);
            $("copied").textContent = "Copied.";
        } catch {
            $("link").select();
            $("copied").textContent = "The link is selected: copy it from the field.";
        }
    }

    // --- controls

    PRESETS.forEach(([title], i) => $("preset").append(new Option(title, i)));
    $("preset").addEventListener("change", ({ target }) => target.value && choose(Number(target.value)));
    $("expression").addEventListener("input", () => {
        $("preset").value = "";
        compute();
        remember();
    });
    const moves = { reset: () => go(0), back: () => go(state.step - 1), forward: () => go(state.step + 1), end: () => go(end()) };
    for (const [id, move] of Object.entries(moves)) $(id).addEventListener("click", () => { pause(); move(); });
    $("play").addEventListener("click", play);
    $("pace").addEventListener("change", () => { if (state.timer) { pause(); play(); } });
    $("step").addEventListener("input", ({ target }) => { pause(); go(Number(target.value)); });
    $("copy").addEventListener("click", copy);
    $("smaller").addEventListener("click", () => zoom(state.scale / 1.25));
    $("larger").addEventListener("click", () => zoom(state.scale * 1.25));
    $("fit").addEventListener("click", () => zoom(state.fit));
    $("direction").addEventListener("change", () => { arrange(); show(); });
    addEventListener("resize", () => { arrange(); show(); });
    addEventListener("hashchange", restore);

    const KEYS = { ArrowRight: "forward", ArrowLeft: "back", Home: "reset", End: "end" };
    addEventListener("keydown", (event) => {
        const { key, target } = event, frame = $("frame");
        if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, textarea, select")) return;
        const sizes = { "+": "larger", "=": "larger", "-": "smaller", 0: "fit" }, far = 80;
        const panned = { ArrowRight: [far, 0], ArrowLeft: [-far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[key];
        if (event.shiftKey && target === frame && panned) frame.scrollBy(...panned);
        else if (event.shiftKey && key !== "+") return;
        else if (KEYS[key]) { pause(); moves[KEYS[key]](); }
        else if (key === " " && !target.matches("button, a, summary")) play();
        else if (target === frame && sizes[key]) $(sizes[key]).click();
        else return;
        event.preventDefault();
    });

    const frame = $("frame");
    frame.addEventListener("pointerdown", (down) => {
        if (down.pointerType !== "mouse" || down.button !== 0 || down.target === frame) return; // a finger scrolls by itself
        const from = [frame.scrollLeft + down.clientX, frame.scrollTop + down.clientY];
        const drag = (move) => frame.scrollTo(from[0] - move.clientX, from[1] - move.clientY);
        frame.setPointerCapture(down.pointerId);
        frame.addEventListener("pointermove", drag);
        frame.addEventListener("lostpointercapture", () => frame.removeEventListener("pointermove", drag), { once: true });
    });

    restore();
})();
