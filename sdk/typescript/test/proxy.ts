/** A proxy that breaks connections, in front of a node that may come and go. */

import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import type { TestContext } from 'node:test';

/** After how many bytes a connection breaks; what is absent never breaks it. */
export interface Break {
  sent?: number;
  received?: number;
}

export class Proxy {
  /** Where the node is now. */
  target = 0;
  /** How many connections were made, and how many of them were broken. */
  connections = 0;
  breaks = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(readonly plan: (connection: number) => Break = () => ({})) {
    this.#server = createServer((client) => this.#joined(client));
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Break all connections there are. */
  breakAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.breakAll();
    this.#server.close();
  }

  #joined(client: Socket): void {
    const node = connect(this.target, '127.0.0.1');
    const { sent, received } = this.plan(++this.connections);
    const end = (): void => {
      client.destroy();
      node.destroy();
    };
    for (const socket of [client, node]) {
      this.#sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => (this.#sockets.delete(socket), end()));
    }
    const passed = (from: Socket, to: Socket, bytesMax = Infinity): void => {
      let bytes = 0;
      from.on('data', (piece: Buffer) => {
        bytes += piece.length;
        if (bytes < bytesMax) {
          to.write(piece);
          return;
        }
        this.breaks += 1;
        to.write(piece.subarray(0, piece.length - (bytes - bytesMax)), end);
      });
      from.on('end', () => to.end());
    };
    passed(client, node, sent);
    passed(node, client, received);
  }
}

/** Run a proxy to the node at *port* until the end of the test. */
export async function startedProxy(
  test: TestContext,
  port: number,
  plan?: (connection: number) => Break,
): Promise<Proxy> {
  const proxy = new Proxy(plan);
  proxy.target = port;
  test.after(() => proxy.close());
  await proxy.listen();
  return proxy;
}
