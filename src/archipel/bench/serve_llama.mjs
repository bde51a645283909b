// llama.cpp behind POST /v1/completions, for `archipel bench serve`: one model, so many sequences in one batch.
//
// Arguments: folder of node-llama-cpp, GGUF file, threads, sequences, positions of each. Says the port on its first
// line. A question takes the idle sequence that shares the longest prefix with it, as llama-server does; others wait.
// Greedy; an end token ends nothing, so that every answer has the length asked for.
import {createServer} from "node:http";
import {pathToFileURL} from "node:url";
import {join} from "node:path";

const MAX_BODY = 16_000_000;
const [folder, modelPath, threads, sequences, positions] = process.argv.slice(2);
const main = join(folder, "node_modules", "node-llama-cpp", "dist", "index.js");
const {getLlama} = await import(pathToFileURL(main).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: Number(threads)});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({
    sequences: Number(sequences), contextSize: Number(positions), batchSize: 512, threads: Number(threads),
});
const idle = Array.from({length: Number(sequences)}, () => context.getSequence());
const waiting = [];

function nearest(prompt) {
    let best = 0, most = -1;
    idle.forEach((each, at) => {
        const shared = each.compareContextTokens(prompt).firstDifferentIndex;
        if (shared > most) [best, most] = [at, shared];
    });
    return idle.splice(best, 1)[0];
}

async function taken(prompt) {
    if (idle.length === 0) await new Promise((go) => waiting.push(go));
    return nearest(prompt);
}

async function answer(asked, response) {
    const sequence = await taken(asked.prompt);
    let told = 0;
    try {
        await sequence.adaptStateToTokens(asked.prompt.slice(0, -1), false);
        const rest = asked.prompt.slice(sequence.nextTokenIndex);
        for await (const token of sequence.evaluate(rest, {temperature: 0, yieldEogToken: true})) {
            const choices = [{text: model.detokenize([token]), token}];
            response.write(`data: ${JSON.stringify({choices})}\n\n`);
            if (++told >= asked.max_tokens || response.destroyed) break;
        }
        response.write(`data: ${JSON.stringify({choices: [], usage: {completion_tokens: told}})}\n\n`);
    } finally {
        idle.push(sequence);
        waiting.shift()?.();
        response.end("data: [DONE]\n\n");
    }
}

const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
        body += part;
        if (body.length > MAX_BODY) request.destroy();
    });
    request.on("end", () => {
        response.writeHead(200, {"content-type": "text/event-stream"});
        answer(JSON.parse(body), response).catch((error) => {
            process.stderr.write(`${error}\n`);
            response.destroy();
        });
    });
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${server.address().port}\n`));
