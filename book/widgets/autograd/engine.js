// The arithmetic of fp_autograd.value in JavaScript: values that remember how they were made, and the sweep back.
// (E4), (E5) and (E6) are those of that section. Load expression.js first. Runs in browsers and in Node.
"use strict";
((autograd) => {
    const { Stop } = autograd;
    const MOST = 300; // nodes of a graph

    // --- the operations, each with its local derivatives (E6)

    const BOTH = {
        "+": (u, v) => [u + v, 1, 1],
        "-": (u, v) => [u - v, 1, -1],
        "*": (u, v) => [u * v, v, u],
        "/": (u, v) => {
            if (v === 0) throw new Error(`a divisor must not be zero, got ${repr(u)} / ${repr(v)}. Add a small constant to what may vanish.`);
            const y = u / v;
            return [y, 1 / v, -y / v];
        },
        "**": (u, v) => {
            if (u <= 0) throw new Error(`a variable exponent needs a positive base, got ${repr(u)} ** ${repr(v)}. Give a constant one as a number.`);
            const y = raised(u, v);
            return [y, v * raised(u, v - 1), y * Math.log(u)];
        },
    };

    const ONE = {
        neg: (u) => [-u, -1],
        exp: (u) => [Math.exp(u), Math.exp(u)],
        log: (u) => {
            if (u <= 0) throw new Error(`log needs a positive number, got ${repr(u)}. Add a small constant to what may vanish.`);
            return [Math.log(u), 1 / u];
        },
        tanh: (u) => {
            const z = Math.exp(-2 * Math.abs(u)), s = 1 + z; // autograd.saturated-slopes: nothing nearly equal is subtracted
            return [Math.tanh(u), 4 * z / (s * s)];
        },
        sigmoid: (u) => {
            const z = Math.exp(-Math.abs(u)), s = 1 + z;
            return [(u >= 0 ? 1 : z) / s, z / (s * s)];
        },
        relu: (u) => u <= 0 ? [0, 0] : [u, 1],
    };

    function power(u, c) {
        if (u < 0 && !Number.isInteger(c)) throw new Error(`a negative base needs a whole exponent, got ${repr(u)} ** ${repr(c)}. The square u * u has every power.`);
        if (u === 0 && c < 0) throw new Error(`zero has no negative power, got ${repr(u)} ** ${repr(c)}. Add a small constant to what may vanish.`);
        return [raised(u, c), c ? c * raised(u, c - 1) : 0];
    }

    function raised(u, c) {
        return u === 1 ? 1 : Math.pow(u === 0 && c < 0 ? 0 : u, c); // one to every power is one, as in IEEE 754 and Python
    }

    // --- a computation writes down its own steps (E1), (E2)

    /**
     * The graph of a program of `parse`, at the given values of its inputs: a list of nodes, operands before their users.
     * A node has a `name` (may be empty), `op` as `Value.op` shows it, `operands` (indices), `locals` (the local
     * derivatives on the edges from them), `value`, and `at`, `end` in the text. The last node is the root.
     */
    function evaluate(program, values) {
        const nodes = program.inputs.map((name) => ({ name, op: "", operands: [], locals: [], value: values[name], at: 0, end: 0 }));
        const named = new Map(program.inputs.map((name, k) => [name, { k }])); // a variable is {k}, a constant a number

        function made(tree, op, args, [value, ...slopes]) {
            const variable = args.map((a, s) => [a, slopes[s]]).filter(([a]) => typeof a === "object");
            if (!variable.length) return value;
            if (nodes.length >= MOST) throw new Stop(`The picture has room for ${MOST} nodes.`, tree.at, tree.end);
            nodes.push({ name: "", op, operands: variable.map(([a]) => a.k), locals: variable.map(([, d]) => d), value, at: tree.at, end: tree.end });
            return { k: nodes.length - 1 };
        }

        const data = (a) => typeof a === "object" ? nodes[a.k].value : a;

        function run(tree) {
            if (tree.kind === "number") return tree.value;
            if (tree.kind === "name") return named.get(tree.name);
            if (tree.kind === "dot") {
                const ws = tree.ws.map(run), xs = tree.xs.map(run), bias = run(tree.bias);
                const args = [...ws, ...xs, bias], w = ws.map(data), x = xs.map(data);
                if (args.every((a) => typeof a === "number")) throw new Stop("dot of numbers alone is a number: write it as one.", tree.at, tree.end);
                const total = w.reduce((sum, wi, i) => sum + wi * x[i], data(bias));
                return made(tree, "dot", args, [total, ...x, ...w, 1]);
            }
            const args = tree.args.map(run), [u, v] = args.map(data), { op } = tree;
            try {
                if (args.length === 1) return made(tree, op === "neg" ? "-" : op, args, ONE[op](u));
                if (op === "**" && typeof args[1] === "number") return made(tree, label(op, args), args, [...power(u, v), 0]);
                return made(tree, label(op, args), args, BOTH[op](u, v));
            } catch (error) {
                throw error instanceof Stop || error instanceof RangeError ? error : new Stop(error.message, tree.at, tree.end);
            }
        }

        let root = 0;
        for (const { name, tree } of program.lines) {
            root = run(tree);
            if (name) named.set(name, root);
            if (name && typeof root === "object" && !nodes[root.k].name) nodes[root.k].name = name;
        }
        if (typeof root === "number") throw new Stop(`The result is the number ${g(root)}: without a name in it nothing can vary.`, program.lines.at(-1).tree.at);
        return reachable(nodes, root.k);
    }

    /** As `Value.op`: a constant stands where it stood, but of a sum and a product always behind. */
    function label(op, [a, b]) {
        if (typeof b === "number") return `${op} ${g(b, 6)}`;
        if (typeof a === "object") return op;
        return op === "+" || op === "*" ? `${op} ${g(a, 6)}` : `${g(a, 6)} ${op}`;
    }

    /** The root's graph: the nodes that it can be traced back to, in the order of their making. */
    function reachable(nodes, root) {
        const kept = new Set([root]);
        for (const k of kept) nodes[k].operands.forEach((j) => kept.add(j)); // the set grows while it is read
        const order = [...kept].sort((a, b) => a - b), place = new Map(order.map((k, at) => [k, at]));
        return order.map((k, at) => ({ ...nodes[k], id: `v${at + 1}`, operands: nodes[k].operands.map((j) => place.get(j)) }));
    }

    // --- one sweep back (E5)

    /**
     * The gradients of the last node in all, and the steps of the sweep in the order of `Value.backward`: the `node` that
     * is taken, its `gradient`, and for each of its edges the `share` that goes `to` an operand, which has `total` then.
     */
    function sweep(nodes) {
        const root = nodes.length - 1, gradients = nodes.map(() => 0), waiting = nodes.map(() => 0), steps = [];
        for (const { operands } of nodes) for (const j of operands) waiting[j]++; // step 1: count the users
        gradients[root] = 1; // step 2
        const ready = [root];
        while (ready.length) { // step 3
            const node = ready.pop(), { operands, locals } = nodes[node], gradient = gradients[node];
            if (!operands.length) continue;
            const shares = operands.map((to, s) => {
                const share = locals[s] * gradient;
                gradients[to] += share;
                if (--waiting[to] === 0 && nodes[to].operands.length) ready.push(to);
                return { to, local: locals[s], share, total: gradients[to], complete: waiting[to] === 0 };
            });
            steps.push({ node, gradient, shares });
        }
        return { gradients, steps };
    }

    // --- numbers as Python writes them

    /** As Python's format(x, ".4g"): so many digits, zeros at the end dropped, ties to even; one way to write zero. */
    function g(x, digits = 4) {
        if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
        if (x === 0) return "0";
        let [mantissa, exponent] = x.toExponential(digits - 1).split("e");
        const [exact, lower] = x.toExponential(60).split("e"), [head, rest] = [exact.replace("-", ""), digits > 1 ? digits + 1 : 1];
        if (/^\.?50*$/.test(head.slice(rest)) && Number(head[rest - 1]) % 2 === 0) // JavaScript rounds a tie away from zero
            [mantissa, exponent] = [exact.slice(0, rest + (x < 0)), lower];
        const bare = (text) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
        if (Number(exponent) < -4 || Number(exponent) >= digits) return bare(mantissa) + "e" + padded(exponent);
        return bare(Number(`${mantissa}e${exponent}`).toFixed(digits - 1 - Number(exponent)));
    }

    /** As Python's repr(x): the shortest decimal that is this number. */
    function repr(x) {
        if (!Number.isFinite(x)) return g(x);
        const [mantissa, exponent] = x.toExponential().split("e");
        if (x !== 0 && (Number(exponent) < -4 || Number(exponent) >= 16)) return `${mantissa}e${padded(exponent)}`;
        const text = Object.is(x, -0) ? "-0" : String(x);
        return text.includes(".") ? text : `${text}.0`;
    }

    function padded(exponent) {
        return exponent[0] + exponent.slice(1).padStart(2, "0");
    }

    Object.assign(autograd, { evaluate, sweep, g, repr });
})(globalThis.autograd ??= {});
