// A client for the services that are spoken to with single HTTP requests: the same request many times over kept connections.
//   own_client.mjs JOB    JOB is JSON: {url, method, headers, body, count, width}; prints {client, in_flight, seconds, cpu_seconds}
import http from 'node:http';
import { inParallel } from './wait.mjs';

const { url, method = 'POST', headers, body, count, width } = JSON.parse(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: width });
const length = { 'content-length': Buffer.byteLength(body) };

/** Ends once the answer has been read. */
const send = () => new Promise((resolve, reject) => {
  const request = http.request(url, { method, agent, headers: { ...headers, ...length } }, (answer) => {
    answer.resume().on('error', reject).on('end', () => (answer.statusCode < 300 ? resolve() : reject(new Error(`${answer.statusCode}`))));
  });
  request.on('error', reject).end(body);
});

const [started, used] = [performance.now(), process.cpuUsage()];
await inParallel(Array(count).keys(), width, send);
const { user, system } = process.cpuUsage(used);
const taken = { seconds: (performance.now() - started) / 1e3, cpu_seconds: (user + system) / 1e6 };
console.log(JSON.stringify({ client: `node ${process.versions.node} http`, in_flight: `${width} connections`, ...taken }));
agent.destroy();
