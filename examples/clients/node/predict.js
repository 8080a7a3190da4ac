// Send a de-identified DICOM study to a glioserve server.
//
//   npm ci
//   node predict.js STUDY 127.0.0.1:8001 --heatmap heatmap.nrrd
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const PROTO = path.join(__dirname, "../../../client/glioserve_client/protocol/inference.proto");
// Major version of the contract that this program was written for.
const CONTRACT = "2";
// Codes that a call can end with and that docs/errors.md marks "yes, with backoff".
const RETRYABLE = new Set([
  "GLIO-3102", "GLIO-3103", "GLIO-3104", "GLIO-4101", "GLIO-4102", "GLIO-4103", "GLIO-4111",
]);
// Codes of messages that come from Triton or gRPC itself; a status that is not here is not worth a retry.
const WITHOUT_TOKEN = { UNAVAILABLE: "GLIO-4101", DEADLINE_EXCEEDED: "GLIO-4102", NOT_FOUND: "GLIO-4103" };
const STAGE_LOST = "GLIO-3103";
const DEADLINE_PASSED = "GLIO-3104";
// Studies and heat maps are larger than the 4 MB that gRPC takes by default.
const NO_LIMIT = { "grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1 };

// Exit codes are those of `glioserve predict`.
async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      "tls-ca": { type: "string" }, // authority of the server's certificate; turns TLS on
      "token-file": { type: "string" }, // token or API key of a gateway
      "timeout-s": { type: "string", default: "120" },
      heatmap: { type: "string" }, // write the heat map here (NRRD); else none is computed
    },
  });
  if (positionals.length !== 2) {
    console.error("usage: node predict.js STUDY HOST:PORT [--tls-ca F] [--token-file F] [--timeout-s S] [--heatmap F]");
    return 2;
  }
  const [study, server] = positionals;
  const metadata = new grpc.Metadata();
  if (values["token-file"]) {
    metadata.set("authorization", `Bearer ${fs.readFileSync(values["token-file"], "utf8").trim()}`);
  }
  const credentials = values["tls-ca"]
    ? grpc.credentials.createSsl(fs.readFileSync(values["tls-ca"]))
    : grpc.credentials.createInsecure();
  const definition = protoLoader.loadSync(PROTO, { keepCase: true, longs: Number });
  const { GRPCInferenceService } = grpc.loadPackageDefinition(definition).inference;
  const client = new GRPCInferenceService(server, credentials, NO_LIMIT);
  try {
    const request = requestOf(filesOf(study), values.heatmap !== undefined);
    return show(await infer(client, request, metadata, Number(values["timeout-s"])), values.heatmap);
  } catch (error) {
    if (error.code === undefined || grpc.status[error.code] === undefined) throw error;
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    return exitCode(error);
  } finally {
    client.close();
  }
}

function filesOf(study) {
  const entries = fs.readdirSync(study, { recursive: true }).map((name) => path.join(study, name));
  return entries.filter((name) => fs.statSync(name).isFile()).sort().map((name) => fs.readFileSync(name));
}

// Put the files into one BYTES tensor: each has its length before it.
function requestOf(files, heatmap) {
  const parts = files.flatMap((file) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(file.length);
    return [length, file];
  });
  const names = ["SCORE", "LABEL", "PROBABILITIES", "REPORT", ...(heatmap ? ["HEATMAP", "HEATMAP_AFFINE"] : [])];
  return {
    model_name: "glioma",
    inputs: [{ name: "INSTANCES", datatype: "BYTES", shape: [files.length] }],
    raw_input_contents: [Buffer.concat(parts)],
    outputs: names.map((name) => ({ name })),
    parameters: heatmap ? {} : { heatmap: { bool_param: false } },
  };
}

// Ask until there is an answer, a refusal that will stay one, or no time.
async function infer(client, request, metadata, timeoutS) {
  const deadline = Date.now() + timeoutS * 1000;
  let lost = 0;
  let clocksAgree = true;
  for (let attempt = 0; ; attempt++) {
    request.parameters.timeout = { int64_param: Math.max(1, deadline - Date.now()) * 1000 }; // microseconds
    if (clocksAgree) request.parameters.deadline_unix_ms = { int64_param: deadline };
    else delete request.parameters.deadline_unix_ms;
    try {
      return await new Promise((resolve, reject) => {
        client.ModelInfer(request, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
      });
    } catch (error) {
      const code = codeOf(error);
      clocksAgree = clocksAgree && code !== DEADLINE_PASSED;
      if (code === STAGE_LOST) lost += 1;
      const pauseMs = 1000 * (Math.random() * Math.min(10, 0.5 * 2 ** attempt) + 3 * lost);
      if (!RETRYABLE.has(code) || lost > 3 || Date.now() + pauseMs >= deadline) throw error;
      await sleep(pauseMs);
    }
  }
}

// Return the token anywhere in the message; without one, what the status stands for, or nothing.
function codeOf(error) {
  const status = grpc.status[error.code];
  const message = error.details ?? "";
  const token = message.match(/GLIO-\d{4}/);
  if (token) return token[0];
  if (status === "INTERNAL" && /tub process\b.*\bis not healthy|health mutex/.test(message)) return STAGE_LOST;
  if (status === "INTERNAL" && /Failed to .* shared memory/.test(message)) return "GLIO-4101";
  if (status === "RESOURCE_EXHAUSTED" && !message.includes("larger than max")) return "GLIO-4101";
  return WITHOUT_TOKEN[status] ?? "";
}

// Return 3 to send it later, 4 to change the study, 5 to change the credentials, 1 for a fault of the server.
function exitCode(error) {
  if (RETRYABLE.has(codeOf(error))) return 3;
  const byStatus = { INVALID_ARGUMENT: 4, RESOURCE_EXHAUSTED: 4, UNAUTHENTICATED: 5, PERMISSION_DENIED: 5 };
  return byStatus[grpc.status[error.code]] ?? 1;
}

// Print the answer and write the heat map. Outputs come in any order.
function show(answer, heatmap) {
  const outputs = new Map(answer.outputs.map((output, i) => [output.name, answer.raw_output_contents[i]]));
  const text = (name) => outputs.get(name).subarray(4).toString("utf8"); // BYTES elements have their length before them
  const report = JSON.parse(text("REPORT"));
  if (report.contract_version.split(".")[0] !== CONTRACT) {
    console.error(`the server speaks contract ${report.contract_version}`);
    return 1;
  }
  const probabilities = outputs.get("PROBABILITIES");
  console.log(`score ${outputs.get("SCORE").readFloatLE(0).toFixed(6)}`);
  console.log(`label ${text("LABEL") || `none: ${report.abstained_because.join("; ")}`}`);
  console.log(`probabilities ${probabilities.readFloatLE(0).toFixed(6)} ${probabilities.readFloatLE(4).toFixed(6)}`);
  for (const warning of report.warnings) console.log(`warning ${warning}`);
  if (heatmap !== undefined) {
    const { shape } = answer.outputs.find((output) => output.name === "HEATMAP");
    const affine = Array.from({ length: 16 }, (_, i) => outputs.get("HEATMAP_AFFINE").readDoubleLE(8 * i));
    fs.writeFileSync(heatmap, Buffer.concat([nrrdHeader(shape, affine), outputs.get("HEATMAP")]));
    console.log(`heatmap ${shape.join(" ")}`);
  }
  return 0;
}

// Return the header of the heat map: [z, y, x] on disk is x fastest, and LPS is the affine's own space.
function nrrdHeader([z, y, x], affine) {
  const [alongX, alongY, alongZ, origin] = [0, 1, 2, 3].map((i) => `(${affine[i]},${affine[4 + i]},${affine[8 + i]})`);
  const lines = ["NRRD0004", "type: float", "dimension: 3", "space: left-posterior-superior", "endian: little"];
  lines.push("encoding: raw", `sizes: ${x} ${y} ${z}`);
  lines.push(`space directions: ${alongX} ${alongY} ${alongZ}`, `space origin: ${origin}`, "", "");
  return Buffer.from(lines.join("\n"));
}

main().then((code) => {
  process.exitCode = code;
});
