// The graph as SVG: drawn once for an expression, filled with numbers at every step.
"use strict";
((autograd) => {
    const { g, layout } = autograd;
    const COLUMN = 7.9, ROW = 18, PAD = 8, MARGIN = 12, SPACE = "http://www.w3.org/2000/svg";

    function element(parent, tag, attributes = {}, text = "") {
        const made = document.createElementNS(SPACE, tag);
        for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
        made.textContent = text;
        return parent.appendChild(made);
    }

    const short = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

    /** How the graph would stand, from left to right or from top to bottom. */
    function arranged(nodes, vertical) {
        const sizes = nodes.map((v) => {
            const columns = Math.max(12, short(title(v), 12).length + 2 + short(v.op, 12).length);
            return [columns * COLUMN + 2 * PAD, 3 * ROW + PAD];
        });
        return layout(nodes.map((v) => v.operands), sizes, [8 * COLUMN, 2 * ROW - 4], vertical);
    }

    const title = (v) => v.name || v.id;

    /** Draws boxes and edges into an `<svg>`, and returns what fills in the numbers of a view. */
    function draw(svg, nodes, place, vertical) {
        svg.replaceChildren();
        svg.setAttribute("viewBox", `${-MARGIN} ${-MARGIN} ${place.width + 2 * MARGIN} ${place.height + 2 * MARGIN}`);
        const edges = place.edges.map((e) => {
            const group = element(svg, "g", { class: "edge" });
            element(group, "path", { d: e.path });
            element(group, "polygon", { points: e.head });
            return { ...e, group };
        });
        for (const e of edges) { // above all lines, so that none crosses a number
            const [x, y] = e.label;
            const group = element(svg, "g", { class: "numbers" });
            e.numbers = group;
            e.ground = element(group, "rect", { class: "ground", y: y - 17, height: 34, rx: 3 });
            e.local = element(group, "text", { class: "local", x, y: y - 8 });
            e.share = element(group, "text", { class: "share", x, y: y + 8 });
        }
        const boxes = nodes.map((v, k) => {
            const [x, y] = place.boxes[k], group = element(svg, "g", { class: v.operands.length ? "node" : "node leaf" });
            const width = Math.max(12, short(title(v), 12).length + 2 + short(v.op, 12).length) * COLUMN + 2 * PAD, height = 3 * ROW + PAD;
            const left = x - width / 2, top = y - height / 2, line = (n) => top + PAD / 2 + ROW * (n + .5);
            element(group, "rect", { x: left, y: top, width, height, rx: 5 });
            element(group, "text", { class: "name", x: left + PAD, y: line(0) }, short(title(v), 12));
            element(group, "text", { class: "op end", x: left + width - PAD, y: line(0) }, short(v.op || "input", 12));
            const value = element(group, "text", { class: "value end", x: left + width - PAD, y: line(1) });
            const gradient = element(group, "text", { class: "gradient end", x: left + width - PAD, y: line(2) });
            element(group, "text", { class: "op", x: left + PAD, y: line(1) }, "=");
            const mark = element(group, "text", { class: "op", x: left + PAD, y: line(2) });
            return { group, value, gradient, mark, box: { x: left, y: top, width, height } };
        });

        function fill(view) {
            boxes.forEach(({ group, value, gradient, mark }, k) => {
                group.classList.toggle("made", view.made[k]);
                group.classList.toggle("current", view.current === k);
                group.classList.toggle("partial", view.gradients[k] !== null && !view.complete[k]);
                value.textContent = view.made[k] ? g(view.values[k]) : "";
                gradient.textContent = view.gradients[k] === null ? "" : g(view.gradients[k]);
                mark.textContent = view.gradients[k] === null ? "" : view.complete[k] ? "∂" : "∂…";
            });
            edges.forEach(({ from, to, slot, group, numbers, ground, local, share, label: [x, y] }) => {
                const handed = view.shares[to]?.[slot], active = view.active === to;
                for (const part of [group, numbers]) {
                    part.classList.toggle("made", view.made[to]);
                    part.classList.toggle("handed", handed !== undefined);
                    part.classList.toggle("active", active);
                }
                const one = view.made[to] ? g(view.locals[to][slot]) : "", two = handed === undefined ? "" : g(handed);
                local.textContent = one;
                share.textContent = two;
                local.setAttribute("y", two ? y - 8 : y);
                const width = Math.max(one.length, two.length) * COLUMN + (one ? 6 : 0);
                ground.setAttribute("x", x - width / 2);
                ground.setAttribute("width", width);
                ground.setAttribute("y", two ? y - 17 : y - 9);
                ground.setAttribute("height", two ? 34 : 18);
                if (active) svg.append(numbers); // the numbers in question lie on top
            });
        }

        return { fill, boxes: boxes.map(({ box }) => ({ x: box.x + MARGIN, y: box.y + MARGIN, width: box.width, height: box.height })), width: place.width + 2 * MARGIN, height: place.height + 2 * MARGIN };
    }

    Object.assign(autograd, { arranged, draw, title });
})(globalThis.autograd ??= {});
