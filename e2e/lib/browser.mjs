// A real Chromium, as a person would use the console with it. A page that breaks a rule of its own (a script that is refused,
// a request to another host, an error in the console) fails the test that opened it.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const FILES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const TIMEOUT_MS = 15_000;

/** The browser's file: CHROMIUM, or where Debian's package puts it. */
function file() {
  const found = [process.env.CHROMIUM, ...FILES].find((candidate) => candidate && existsSync(candidate));
  if (!found) throw new Error('no Chromium: run `make setup`, or set CHROMIUM to its file');
  return found;
}

/** A browser for as long as the test `t` lasts. */
export async function openBrowser(t) {
  const browser = await chromium.launch({ executablePath: file(), args: FLAGS });
  t.after(() => browser.close());
  return browser;
}

/** A window of its own, with its own cookies. `options` are Playwright's. Gives the page; `page.faults` is what it did wrong. */
export async function openWindow(browser, base, options = {}) {
  const context = await browser.newContext({ baseURL: base, viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  page.faults = [];
  page.on('console', (message) => {
    // A form that is answered with 422 is shown as such by the browser; everything else is a fault.
    if (message.type() === 'error' && !/status of 4(22|03)/.test(message.text())) page.faults.push(message.text());
  });
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== base) page.faults.push(`a request to ${url.origin}`);
  });
  return page;
}

/** Signs in on the page to sign in on. */
export async function signIn(page, { username, password }) {
  await page.goto('/sign-in');
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
}

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe-core finds on the page that is serious or critical, a line each. */
export async function seriousFaults(page) {
  const source = await readFile(axe, 'utf8');
  // Evaluated by the driver, not loaded by the page, whose policy would refuse it.
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations
    .filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary ?? ''}`));
}

/** Whether the page is wider than its window. */
export const scrollsSideways = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
