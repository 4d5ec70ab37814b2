// What is to be seen at each step of a run: start, one step for each result, the seed, one for each node of the sweep.
"use strict";
((autograd) => {
    const { g, sweep } = autograd;

    /** How many steps lead to the last one. */
    const last = (nodes) => 2 * nodes.filter((v) => v.operands.length).length + 1;

    /**
     * The state at a step: for each node its value and whether it is `made`, its gradient so far (null before the sweep)
     * and whether that is `complete`; by node the shares on its edges; `current`, the node in question, if any; `active`,
     * the node whose edges are; and what is `said`: a heading and a list of sentences.
     */
    function view(nodes, step) {
        const results = nodes.map((v, k) => k).filter((k) => nodes[k].operands.length), count = results.length;
        const found = { values: nodes.map((v) => v.value), locals: nodes.map((v) => v.locals), shares: {}, current: -1, active: -1 };
        found.made = nodes.map((v, k) => !v.operands.length || results.indexOf(k) < step);
        found.gradients = nodes.map(() => null);
        found.complete = nodes.map(() => false);
        if (step > count) {
            const root = nodes.length - 1, { steps } = sweep(nodes), taken = steps.slice(0, step - count - 1);
            found.gradients = nodes.map((_, k) => k === root ? 1 : 0);
            found.complete[root] = true;
            for (const { node, shares } of taken) {
                found.shares[node] = shares.map(({ share }) => share);
                for (const { to, total, complete } of shares) {
                    found.gradients[to] = total;
                    found.complete[to] = complete;
                }
            }
            found.current = taken.length ? taken.at(-1).node : root;
            found.active = taken.length ? found.current : -1;
            found.said = taken.length ? backward(nodes, taken.at(-1), taken.length, count) : seeded(nodes);
        } else if (step) {
            found.current = found.active = results[step - 1];
            found.said = forward(nodes, found.current, step, count);
        } else {
            found.said = ["Start: the inputs have their values.", count ? ["Step forward to compute the first result."] : []];
        }
        return found;
    }

    // --- in words

    const name = (v) => v.name || v.id;
    const bracketed = (x) => /^-/.test(x) ? `(${x})` : x;

    /** What a node computes, of names or of numbers. */
    function formula(op, given) {
        const [u, v] = given;
        if (op === "dot") return `dot of ${given.join(", ")}`;
        if (/^[a-z]/.test(op)) return `${op}(${u})`;
        if (given.length === 2) return `${u} ${op} ${v}`;
        if (op === "-") return `-${u}`;
        return /^[-+*/]/.test(op) && op.includes(" ") && !/^-?[\d.]/.test(op) ? `${u} ${op}` : `${op} ${u}`;
    }

    /** The rules (E6), for each operand; of a sum of products every slope is the partner. */
    const RULES = {
        "+": ["1", "1"], "-": ["1", "-1"], "*": ["the other factor", "the other factor"], "/": ["1 / v", "-y / v"], "**": ["v u^(v-1)", "y ln u"],
        exp: ["e^u"], log: ["1 / u"], tanh: ["1 - tanh² u"], sigmoid: ["σ(u) (1 - σ(u))"], relu: ["1 if u > 0, else 0"],
    };

    function rule(op, slot, count) {
        if (op === "dot") return "its partner in the sum";
        if (RULES[op]) return count === 1 && op === "-" ? "-1" : RULES[op][slot];
        const [a, b] = op.split(" ");
        if (RULES[a]) return { "+": "1", "-": "1", "*": "c", "/": "1 / c", "**": "c u^(c-1)" }[a];
        return { "-": "-1", "/": "-y / u", "**": "y ln c" }[b];
    }

    function forward(nodes, k, step, count) {
        const v = nodes[k], operands = v.operands.map((j) => nodes[j]);
        const numbers = formula(v.op, operands.map((o) => bracketed(g(o.value))));
        const heading = `Forward, ${step} of ${count}: ${name(v)} = ${formula(v.op, operands.map(name))} = ${numbers} = ${g(v.value)}`;
        return [heading, operands.map((o, s) => {
            const text = rule(v.op, s, operands.length), number = g(v.locals[s]);
            return `local derivative in ${name(o)}: ${text === number ? "" : `${text} = `}${number}`;
        })];
    }

    function seeded(nodes) {
        const only = nodes.length === 1 ? " It is an input itself: all is done." : "";
        return [`Backward begins: ${name(nodes.at(-1))} has gradient 1, as every number moves with itself. All others begin at 0.${only}`, []];
    }

    function backward(nodes, { node, gradient, shares }, step, count) {
        const heading = `Backward, ${step} of ${count}: the gradient of ${name(nodes[node])} is complete, ${g(gradient)}, and it hands back`;
        const list = shares.map(({ to, local, share, total, complete }) =>
            `to ${name(nodes[to])}: ${bracketed(g(gradient))} × ${bracketed(g(local))} = ${g(share)}; it has ${g(total)}${complete ? ", complete" : " so far"}`);
        return [heading, step === count ? [...list, "This was the last: all gradients are complete."] : list];
    }

    Object.assign(autograd, { last, view, formula, name });
})(globalThis.autograd ??= {});
