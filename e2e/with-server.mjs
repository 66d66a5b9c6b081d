// node with-server.mjs COMMAND [ARGUMENT …]: starts a server with an empty data directory, runs the command with the
// server's address as its last argument, stops the server, and ends with the command's status.
import { spawn } from 'node:child_process';
import { Server } from './lib/server.mjs';

const [command, ...args] = process.argv.slice(2);
if (!command) {
  console.error('usage: node with-server.mjs COMMAND [ARGUMENT …]');
  process.exit(2);
}
const server = await Server.launch();
let status = 1;
try {
  status = await new Promise((resolve, reject) => {
    const child = spawn(command, [...args, server.base], { stdio: ['ignore', 'inherit', 'inherit'] });
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
} finally {
  await server.close();
}
process.exit(status);
