// Says how long the live page takes for its frames.
//
//   node frames.mjs BROWSER URL [SECONDS]
//
// A frame is one task of the page's main thread: scripts, style, layout and paint. The browser's own trace has
// each task's time, and the processor time of its thread, which a busy machine does not stretch. Headless
// Chromium draws in software. The exit code is 1 when a task took more than 50 ms of processor.

import puppeteer from 'puppeteer-core'

const [executablePath, url, seconds = '15'] = process.argv.slice(2)
const most = 50 // ms of processor in one task, what the eye takes for a pause
if (!url) {
  console.error('usage: node frames.mjs BROWSER URL [SECONDS]')
  process.exit(2)
}
const browser = await puppeteer.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] })
const page = await browser.newPage()
await page.setViewport({ width: 1280, height: 1100 })
await page.goto(url)
await page.waitForFunction(() => document.querySelectorAll('#blocks tr').length >= 3, { timeout: 60_000 })
await page.tracing.start({ categories: ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline'] })
await new Promise((done) => setTimeout(done, Number(seconds) * 1000))
const { traceEvents } = JSON.parse(new TextDecoder().decode(await page.tracing.stop()))
const nodes = await page.$$eval('#nodes tr', (rows) => rows.length)
await browser.close()

// The renderer's main thread is the one that fires the page's animation frames.
const main = traceEvents.find((e) => e.name === 'FireAnimationFrame')
const own = traceEvents.filter((e) => e.pid === main.pid && e.tid === main.tid)
const tasks = own.filter((e) => /RunTask$/.test(e.name) && e.dur).map((e) => ({ wall: e.dur / 1000, cpu: (e.tdur ?? e.dur) / 1000 }))
const frames = own.filter((e) => e.name === 'FireAnimationFrame').length
const at = (of, share) => tasks.map((t) => t[of]).sort((a, b) => a - b)[Math.ceil(share * tasks.length) - 1].toFixed(1)
console.log(`${nodes} nodes, drawn in software: ${frames} frames in ${seconds} s; the longest task of the page's main thread took ${at('cpu', 1)} ms of processor ` +
  `(p99 ${at('cpu', 0.99)}), ${at('wall', 1)} ms with what else the machine did meanwhile; ${tasks.filter((t) => t.cpu > most).length} tasks above ${most} ms of processor`)
process.exit(Number(at('cpu', 1)) > most ? 1 : 0)
