/** A real node as a process of its own that can be killed and come back, on another free port. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

const PYTHON = process.env['PYTHON'] ?? '../../.venv/bin/python';

/** A node, and the data directory that it comes back to. */
export class Node {
  port = 0;
  readonly #directory = mkdtempSync(join(tmpdir(), 'fastpaca-'));
  readonly #flags: string[];
  #process: ChildProcess | undefined;

  constructor(...flags: string[]) {
    this.#flags = flags;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Start, and wait until it serves. */
  async start(): Promise<void> {
    const data = ['--data-dir', join(this.#directory, 'data'), '--token-estimator', 'chars'];
    const command = ['-m', 'fastpaca', 'serve', '--port', '0', ...data, ...this.#flags];
    const process = spawn(PYTHON, command, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = process;
    let said = '';
    process.stderr.on('data', (piece) => (said += String(piece)));
    for await (const piece of process.stdout) {
      said += String(piece);
      const found = /http:\/\/[^\s/]+:(\d+)/.exec(said);
      if (found) {
        this.port = Number(found[1]);
        process.stdout.resume();
        return;
      }
    }
    throw new Error(`the node did not start: ${said}`);
  }

  /** End it between two instructions. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
    process.kill('SIGKILL');
    await once(process, 'exit');
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Run a node until the end of the test. */
export async function startedNode(test: TestContext, ...flags: string[]): Promise<Node> {
  const node = new Node(...flags);
  test.after(() => node.remove());
  await node.start();
  return node;
}

/** A message of *text*. */
export function said(text: string, role = 'user'): { role: string; parts: { type: string }[] } {
  return { role, parts: [{ type: 'text', text } as { type: string }] };
}
