// Uses the live page of a running devnet as a person would, in headless Chromium.
//
//   node page.mjs BROWSER http://127.0.0.1:PORT [FOLDER]
//
// Waits for blocks, sends a transfer, cuts a link, and looks at phone and desktop width, light and
// dark. With a FOLDER it keeps a screenshot of each. The exit code is 1 when something is missing.

import puppeteer from 'puppeteer-core'

const [executablePath, url, folder] = process.argv.slice(2)
if (!url) {
  console.error('usage: node page.mjs BROWSER URL [FOLDER]')
  process.exit(2)
}
const patience = { timeout: 60_000 }
const browser = await puppeteer.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] })
const page = await browser.newPage()
const said = [], elsewhere = []
page.on('console', (m) => said.push(m.text()))
page.on('pageerror', (e) => said.push(e.message))
page.on('request', (r) => { if (!r.url().startsWith(url) && !r.url().startsWith('data:')) elsewhere.push(r.url()) })

let failed = 0
async function check(name, run) {
  try {
    console.log(`ok    page: ${name}: ${await run()}`)
  } catch (err) {
    failed++
    console.log(`FAIL  page: ${name}: ${err.message}`)
  }
}
const text = (selector) => page.$eval(selector, (e) => e.textContent)
const peers = () => page.$$eval('#nodes tr', (rows) => Object.fromEntries(rows.map((r) => [r.cells[0].textContent, Number(r.cells[4]?.textContent)])))

await page.setViewport({ width: 1280, height: 1100 })
await page.goto(url)
await check('blocks', async () => {
  await page.waitForFunction(() => document.querySelectorAll('#blocks tr').length >= 3 && document.querySelector('#coverage .now'), patience)
  return `${await text('#summary')}; ${await text('#coverage-text')}`
})
await check('send', async () => {
  await page.click('#send button')
  await page.waitForSelector('#outcome.good, #outcome.bad', patience)
  const outcome = await text('#outcome')
  if (!/^In block \d+/.test(outcome)) throw new Error(outcome)
  return outcome
})
await check('cut by keyboard', async () => {
  const before = await peers()
  await page.select('#cut select[name=a]', 'n0')
  await page.select('#cut select[name=b]', 'n1')
  await page.focus('#cut button')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => /kept apart/.test(document.querySelector('#outcome').textContent) || document.querySelector('#outcome.bad'), patience)
  const outcome = await text('#outcome')
  if (!/kept apart/.test(outcome)) throw new Error(outcome)
  await page.waitForFunction((was) => [...document.querySelectorAll('#nodes tr')].some((r) => r.cells[0].textContent === 'n0' && Number(r.cells[4].textContent) < was), patience, before.n0)
  return `${outcome}; n0 has ${(await peers()).n0} of ${before.n0} peers`
})
for (const [width, height] of [[390, 844], [1280, 1100]]) {
  for (const shade of ['light', 'dark']) {
    await check(`${width} px, ${shade}`, async () => {
      await page.setViewport({ width, height })
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: shade }])
      const wide = await page.evaluate(() => document.documentElement.scrollWidth)
      if (wide > width) throw new Error(`is ${wide} px wide`)
      const shot = await page.screenshot({ fullPage: true, path: folder && `${folder}/page-${width}-${shade}.png` })
      return `${Math.round(shot.length / 1024)} KiB of picture`
    })
  }
}
await check('quiet', async () => {
  if (said.length + elsewhere.length > 0) throw new Error([...said, ...elsewhere].join('; '))
  return `nothing on the console, nothing loaded from elsewhere; the longest frame took ${await page.$eval('#graph', (c) => c.dataset.longest)} ms to draw`
})
await browser.close()
process.exit(failed === 0 ? 0 : 1)
