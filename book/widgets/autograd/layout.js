// Where the nodes of a graph stand: the method of fp_autograd.drawing, whose equations the comments cite.
"use strict";
((autograd) => {
    const AIR = 12, GAP = 20, ROUNDS = 40;

    /**
     * Places for the boxes and edge labels of a graph, in pixels.
     *
     * `operands` lists for each node the nodes that it uses, which have smaller numbers; `sizes` its `[width, height]`;
     * `label` is the size of the text on an edge. Gives `width`, `height`, for each node its centre in `boxes`, and for
     * each edge, node by node and operand by operand, `{from, to, slot, path, head, label}`: an SVG path, the points of
     * its arrow head and the centre of its text.
     */
    function layout(operands, sizes, label, vertical) {
        const turn = ([a, b]) => vertical ? [b, a] : [a, b];
        const depth = layers(operands), lanes = operands.map((_, k) => [k]), edges = [];
        const points = sizes.map((size, k) => ({ layer: 2 * depth[k], size: turn(size), node: true }));
        const add = (layer, size) => points.push({ layer, size, node: false }) - 1;
        operands.forEach((list, k) => list.forEach((j, slot) => {
            for (let layer = points[lanes[j].at(-1)].layer - 1; layer > 2 * depth[k] + 1; layer--) lanes[j].push(add(layer, [0, 0]));
            const start = lanes[j].findIndex((p) => points[p].layer === 2 * depth[k] + 2);
            edges.push({ from: j, to: k, slot, start, text: add(2 * depth[k] + 1, turn(label)) });
        }));
        const links = lanes.flatMap((lane) => pairs(lane));
        for (const e of edges) links.push([lanes[e.from][e.start], e.text], [e.text, e.to]);

        const order = ordered(points, links), across = places(points, order, links), along = alongs(points, links, across);
        const at = (x, y) => turn([x, y]).map((v) => Math.round(10 * v) / 10).join(" ");
        const arrivals = arrive(edges, points, across);
        const drawn = edges.map((e, i) => {
            const route = [...lanes[e.from].slice(0, e.start + 1), e.text].map((p) => [along[points[p].layer], across[p]]);
            route.push([along[points[e.to].layer], arrivals[i]]);
            let [[, x], y] = route[0], path = `M${at(x, y)}`, head = "";
            route.slice(1).forEach(([[begin, end], z], n) => {
                const tip = n === route.length - 2, stop = begin - (tip ? 8 : 0), half = (x + stop) / 2;
                path += `C${at(half, y)} ${at(half, z)} ${at(stop, z)}`;
                if (tip) head = [at(begin, z), at(stop, z - 4), at(stop, z + 4)].join(" ");
                else if (end > stop) path += `L${at(end, z)}`;
                [x, y] = [end, z];
            });
            const [left, right] = along[points[e.text].layer];
            return { from: e.from, to: e.to, slot: e.slot, path, head, label: turn([(left + right) / 2, across[e.text]]) };
        });
        const boxes = operands.map((_, k) => turn([(along[2 * depth[k]][0] + along[2 * depth[k]][1]) / 2, across[k]]));
        const far = [along[0][1], Math.max(...points.map((p, k) => across[k] + p.size[1] / 2))];
        const [width, height] = turn(far);
        return { width, height, boxes, edges: drawn };
    }

    const pairs = (list) => list.slice(1).map((b, i) => [list[i], b]);

    /** The layer of each node, 0 for the last: as many edges as on its longest path to that one (E1). */
    function layers(operands) {
        const depth = operands.map(() => 0);
        for (let user = operands.length - 1; user >= 0; user--)
            for (const j of operands[user]) depth[j] = Math.max(depth[j], depth[user] + 1);
        return depth;
    }

    /** The points of each layer, with few crossings: sorted by barycentres (E2), back and forth. */
    function ordered(points, links) {
        const count = 1 + Math.max(...points.map((p) => p.layer));
        const order = Array.from({ length: count }, () => []), users = points.map(() => []), operands = points.map(() => []);
        for (const [a, b] of links) {
            operands[b].push(a);
            users[a].push(b);
        }
        const seen = new Set(), waiting = [points.findIndex((p) => p.layer === 0)];
        while (waiting.length) { // neighbours in the graph begin as neighbours in the layers
            const k = waiting.pop();
            if (seen.has(k)) continue;
            seen.add(k);
            order[points[k].layer].push(k);
            waiting.push(...operands[k].slice().reverse());
        }
        const beside = (nexts, layer) => {
            const at = new Map(order[layer].map((p, i) => [p, i]));
            return (p) => nexts[p].map((q) => at.get(q)).filter((i) => i !== undefined);
        };
        let fewest = Infinity, best = order;
        for (let turn = 0; turn < 12 && fewest; turn++) {
            let crossed = 0;
            for (let i = 1; i < count; i++) crossed += crossings(order[i], beside(users, i - 1));
            if (crossed < fewest) [fewest, best] = [crossed, order.map((layer) => [...layer])];
            const sorted = (i, near) => barycentric(turn % 2 ? [...order[i]].reverse() : order[i], near);
            for (let i = count - 2; i >= 0; i--) order[i] = sorted(i, beside(operands, i + 1));
            for (let i = 1; i < count; i++) order[i] = sorted(i, beside(users, i - 1));
        }
        return best;
    }

    /** A layer sorted by the mean places of its points' neighbours; points without neighbours stay where they are. */
    function barycentric(layer, near) {
        const mean = new Map(layer.map((p) => [p, near(p)]).filter(([, n]) => n.length).map(([p, n]) => [p, n.reduce((a, b) => a + b) / n.length]));
        const sorted = layer.filter((p) => mean.has(p)).sort((a, b) => mean.get(a) - mean.get(b));
        return layer.map((p) => mean.has(p) ? sorted.shift() : p);
    }

    function crossings(layer, near) {
        const before = [];
        let count = 0;
        for (const p of layer) {
            const ends = near(p);
            for (const end of ends) count += before.filter((other) => other > end).length;
            before.push(...ends);
        }
        return count;
    }

    /** The places nearest to those that are wanted, among those that keep their distances: pooling (E4). */
    function pooled(wanted, weights, spaces) {
        const blocks = [], shifts = [0];
        for (const s of spaces) shifts.push(shifts.at(-1) + s);
        wanted.forEach((d, i) => {
            let block = [weights[i], d - shifts[i], 1];
            while (blocks.length && blocks.at(-1)[1] >= block[1]) {
                const [a, x, n] = blocks.pop(), [b, y, m] = block;
                block = [a + b, (a * x + b * y) / (a + b), n + m];
            }
            blocks.push(block);
        });
        return blocks.flatMap(([, mean, n]) => Array(n).fill(mean)).map((mean, i) => mean + shifts[i]);
    }

    /** Where each point stands across the layers: short and straight links, layer after layer (E3). */
    function places(points, order, links) {
        const ends = points.map(() => []), y = points.map(() => 0);
        for (const [a, b] of links) {
            const weight = [1, 2, 8][2 - points[a].node - points[b].node];
            ends[a].push([b, weight]);
            ends[b].push([a, weight]);
        }
        const spaces = order.map((layer) => pairs(layer).map(([a, b]) => (points[a].size[1] + points[b].size[1]) / 2 + AIR));
        const turns = [...order.keys(), ...[...order.keys()].reverse()];
        for (let round = 0; round < ROUNDS; round++) {
            const before = [...y];
            for (const i of turns) {
                const weights = order[i].map((p) => ends[p].reduce((sum, [, w]) => sum + w, 0) || 1);
                const wanted = order[i].map((p, n) => ends[p].reduce((sum, [q, w]) => sum + w * y[q], 0) / weights[n]);
                pooled(wanted, weights, spaces[i]).forEach((place, n) => { y[order[i][n]] = place; });
            }
            if (Math.max(...y.map((v, i) => Math.abs(v - before[i]))) < 0.05) break;
        }
        const top = Math.min(...points.map((p, i) => y[i] - p.size[1] / 2));
        return y.map((v) => v - top);
    }

    /** Where each layer begins and ends along the picture: steep links get more room. */
    function alongs(points, links, across) {
        const count = 1 + Math.max(...points.map((p) => p.layer)), rise = Array(count).fill(0), thick = Array(count).fill(0);
        for (const [a, b] of links) rise[points[a].layer] = Math.max(rise[points[a].layer], Math.abs(across[a] - across[b]));
        for (const p of points) thick[p.layer] = Math.max(thick[p.layer], p.size[0]);
        const found = [];
        for (let layer = count - 1, x = 0; layer >= 0; layer--) {
            found[layer] = [x, x + thick[layer]];
            x += thick[layer] + Math.min(Math.max(GAP, 0.2 * rise[layer]), 2 * GAP);
        }
        return found;
    }

    /** Where across the layers each edge ends at the box of its user: one beside the other, as they come. */
    function arrive(edges, points, across) {
        const ends = [];
        for (const user of new Set(edges.map((e) => e.to))) {
            const own = edges.map((e, i) => i).filter((i) => edges[i].to === user).sort((a, b) => across[edges[a].text] - across[edges[b].text]);
            const step = Math.min((points[user].size[1] - 16) / Math.max(own.length - 1, 1), 16);
            own.forEach((i, n) => { ends[i] = across[user] + step * (n - (own.length - 1) / 2); });
        }
        return ends;
    }

    Object.assign(autograd, { layout });
})(globalThis.autograd ??= {});
