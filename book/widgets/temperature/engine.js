"use strict";
/*
 * The arithmetic of the temperature explorer, the same as that of fp_markov.sampling, fp_markov.information and
 * fp_transformer.decoding: the names, the order of the operations and the errors are theirs. It runs as a plain script
 * in a page and as a module in Node; test_widget_temperature.py compares it with golden.json, which those packages write.
 */
const engine = (() => {
    /** The largest logit, after the checks that all functions share. */
    function largest(logits) {
        if (logits.length === 0) throw new RangeError("logits need a last axis of at least one token, got shape (0,)");
        if (logits.some(Number.isNaN)) throw new RangeError("logits must be numbers, got NaN. Has the model diverged?");
        const top = logits.reduce((a, b) => (a < b ? b : a));
        if (top === Infinity) {
            throw new RangeError("logits must be below plus infinity, which has no softmax. Has the model overflowed?");
        }
        if (top === -Infinity) {
            throw new RangeError("a row of logits is minus infinity throughout: every token is cut, so none can be drawn");
        }
        return top;
    }

    function shifted(logits) {
        const top = largest(logits);
        return logits.map(z => z - top);
    }

    function temperature(logits, t) {
        if (!(0 < t && t < Infinity)) {
            throw new RangeError(`the temperature must be positive and finite, got ${t}. For the limit 0 use greedy.`);
        }
        return shifted(logits).map(z => z / t);
    }

    /** Ids in the order of falling logits; of equal ones the lower id first. */
    function falling(logits) {
        const order = logits.map((_, i) => i);
        return order.sort((a, b) => (logits[a] > logits[b] ? -1 : logits[a] < logits[b] ? 1 : a - b));
    }

    function keepOnly(logits, ids) {
        const kept = new Set(ids);
        return logits.map((z, i) => (kept.has(i) ? z : -Infinity));
    }

    function topK(logits, k) {
        largest(logits);
        const V = logits.length;
        if (!(Number.isInteger(k) && 1 <= k && k <= V)) {
            throw new RangeError(
                `top_k must lie between 1 and the vocabulary's ${V} tokens, got ${k}. Leave it out to keep all.`);
        }
        return keepOnly(logits, falling(logits).slice(0, k));
    }

    function topP(logits, p) {
        const low = shifted(logits);
        if (!(0 < p && p <= 1)) {
            throw new RangeError(
                `top_p is a probability mass in (0, 1], got ${p}. Leave it out to keep all tokens.`);
        }
        if (p === 1) return logits.slice(); // a rounded sum could reach 1 before the last token
        const order = falling(logits);
        const F = runningSums(order.map(i => Math.exp(low[i])));
        // a token stays while the mass before it falls short; the first always does
        return keepOnly(logits, order.filter((_, n) => n === 0 || F[n - 1] < p * F[F.length - 1]));
    }

    function minP(logits, p) {
        const low = shifted(logits);
        if (!(0 < p && p <= 1)) {
            throw new RangeError(
                `min_p is a share of the largest probability, in (0, 1], got ${p}. Leave it out to keep all.`);
        }
        return logits.map((z, i) => (low[i] >= Math.log(p) ? z : -Infinity));
    }

    function greedy(logits) {
        return logits.indexOf(largest(logits));
    }

    function runningSums(weights) {
        let sum = 0;
        return weights.map(w => (sum += w));
    }

    function softmax(logits) {
        const weights = shifted(logits).map(Math.exp);
        const total = weights.reduce((a, b) => a + b);
        return weights.map(w => w / total);
    }

    /** The logits after each step that is set, in the order in which `draw` takes them; null is a step left out. */
    function stages(logits, { temperature: t = 1, topK: k = null, topP: p = null, minP: m = null } = {}) {
        if (!(0 <= t && t < Infinity)) {
            throw new RangeError(`the temperature must be zero or more and finite, got ${t}. Zero is greedy.`);
        }
        const steps = [{ name: "temperature", logits: t === 0 ? keepOnly(logits, [greedy(logits)]) : temperature(logits, t) }];
        const then = (name, cut, setting) => {
            if (setting !== null) steps.push({ name, logits: cut(steps[steps.length - 1].logits, setting) });
        };
        then("top-k", topK, k);
        then("top-p", topP, p);
        then("min-p", minP, m);
        return steps;
    }

    /** The probabilities with which `draw` takes each token. */
    function distribution(logits, settings) {
        return softmax(stages(logits, settings).pop().logits);
    }

    /** In nats. */
    function entropy(p) {
        return p.reduce((H, q) => (q > 0 ? H - q * Math.log(q) : H), 0);
    }

    /** The first id whose running sum of weights lies above the share u of their total. */
    function firstAbove(sums, u) {
        const mark = u * sums[sums.length - 1];
        let low = 0, high = sums.length - 1;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (sums[middle] > mark) high = middle; else low = middle + 1;
        }
        return low;
    }

    /** A function that draws one id from the softmax of logits, with one uniform number. */
    function sampler(logits) {
        const sums = runningSums(shifted(logits).map(Math.exp));
        return generator => firstAbove(sums, generator.random());
    }

    /** A function that draws as `fp_markov.sampling.draw` does: at temperature zero it takes no random number. */
    function drawer(logits, settings = {}) {
        const last = stages(logits, settings).pop().logits;
        if (settings.temperature === 0) {
            const best = greedy(logits);
            return () => best;
        }
        return sampler(last);
    }

    function totalVariation(p, q) {
        return p.reduce((sum, x, i) => sum + Math.abs(x - q[i]), 0) / 2;
    }

    const logFactorials = [0];
    function logFactorial(n) {
        for (let i = logFactorials.length; i <= n; i++) logFactorials.push(logFactorials[i - 1] + Math.log(i));
        return logFactorials[n];
    }

    /**
     * The mean total variation between p and the relative frequencies of n independent draws from it. A token's count is
     * binomial, and De Moivre summed its mean absolute deviation from n p: with v = floor(n p) + 1 it is
     * 2 v C(n, v) p^v (1 - p)^(n - v + 1).
     */
    function expectedVariation(p, n) {
        return p.reduce((sum, q) => {
            const v = Math.floor(n * q) + 1;
            if (q <= 0 || v > n) return sum; // never, or always, as far as doubles can tell
            const ways = logFactorial(n) - logFactorial(v) - logFactorial(n - v);
            return sum + v / n * Math.exp(ways + v * Math.log(q) + (n - v + 1) * Math.log1p(-q));
        }, 0);
    }

    /** NumPy's `default_rng(seed).random()`: PCG64, O'Neill's XSL-RR output, with NumPy's way from a seed to a state. */
    class Generator {
        static #multiplier = 0x2360ED051FC65DA44385DF649FCCF645n;
        #state = 0n;
        #increment;

        constructor(seed) {
            if (!(Number.isSafeInteger(seed) && seed >= 0)) {
                throw new RangeError(`a seed is a whole number from 0 to 2^53 - 1, got ${seed}`);
            }
            const [a, b, c, d] = seedWords(seed);
            this.#increment = BigInt.asUintN(128, ((c << 64n | d) << 1n) | 1n);
            this.#step();
            this.#state += a << 64n | b;
            this.#step();
        }

        #step() {
            this.#state = BigInt.asUintN(128, this.#state * Generator.#multiplier + this.#increment);
        }

        /** Uniform on [0, 1), a multiple of 2^-53. */
        random() {
            this.#step();
            const folded = (this.#state >> 64n) ^ BigInt.asUintN(64, this.#state);
            const turn = this.#state >> 122n;
            const word = BigInt.asUintN(64, folded >> turn | folded << (64n - turn));
            return Number(word >> 11n) / 2 ** 53;
        }
    }

    /** Four words of 64 bits from a seed, as NumPy's SeedSequence spreads it. */
    function seedWords(seed) {
        const mixing = (constant, factor) => value => {
            value ^= constant;
            constant = Math.imul(constant, factor);
            value = Math.imul(value, constant);
            return value ^ (value >>> 16);
        };
        const hash = mixing(0x43b0d7e5, 0x931e8875);
        const mix = (x, y) => {
            const value = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y) | 0;
            return value ^ (value >>> 16);
        };
        const pool = [seed % 2 ** 32 | 0, Math.floor(seed / 2 ** 32) | 0, 0, 0].map(hash);
        for (let from = 0; from < 4; from++) {
            for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
        }
        const spread = mixing(0x8b51f9dd, 0x58f38ded);
        const words = Array.from({ length: 8 }, (_, i) => BigInt(spread(pool[i % 4]) >>> 0));
        return [0, 2, 4, 6].map(i => words[i + 1] << 32n | words[i]);
    }

    return {
        temperature, topK, topP, minP, greedy, softmax, stages, distribution, entropy, drawer, totalVariation,
        expectedVariation, Generator,
    };
})();
if (typeof module !== "undefined") module.exports = engine;
