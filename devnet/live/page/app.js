// The live page: state comes as server-sent events, everything drawn is drawn from it.

import { Graph } from './graph.js'

const $ = (id) => document.getElementById(id)
const nodes = new Map() // by name
const blocks = [] // oldest first
const keep = 32
let lone = false // one node is followed, not a network
let dirty = false

const graph = new Graph($('graph'))

function short(hash) { return hash.slice(0, 10) }

function time(ms) {
  if (ms === undefined) return ''
  if (ms < 10) return ms === 0 ? '0' : `${ms.toFixed(1)} ms`
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`
}

function bytes(n) { return n < 1024 ? `${n} B` : n < 1 << 20 ? `${(n / 1024).toFixed(0)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB` }

// reached lists a block's latencies at the others, sorted.
function reached(block) {
  return Object.entries(block.at).filter(([name]) => name !== block.origin).map(([, ms]) => ms).sort((a, b) => a - b)
}

// covered is the time at which a share of the nodes that are up had the block.
function covered(block, share) {
  const expected = Math.max(0, [...nodes.values()].filter((n) => n.up).length - 1)
  const have = reached(block)
  return expected > 0 ? have[Math.max(0, Math.ceil(share * expected) - 1)] : undefined
}

const byNumber = new Intl.Collator(undefined, { numeric: true }) // n2 before n10

function names() { return [...nodes.keys()].sort(byNumber.compare) }

// fill makes a table's rows say what cells do, and touches only those that change: the browser then lays
// out a few cells of a table of sixty nodes, and not all.
function fill(body, rows) {
  rows.forEach((cells, i) => {
    const tr = body.rows[i] ?? body.insertRow()
    cells.forEach(([text, kind = '', tag], k) => {
      const td = tr.cells[k] ?? tr.insertCell()
      if (td.className !== kind) td.className = kind
      if ((td.firstElementChild?.localName) !== tag) td.replaceChildren(...(tag ? [document.createElement(tag)] : []))
      const inside = td.firstElementChild ?? td
      if (inside.textContent !== String(text)) inside.textContent = text
    })
    while (tr.cells.length > cells.length) tr.deleteCell(-1)
  })
  while (body.rows.length > rows.length) body.deleteRow(-1)
}

// members says how a node sees the others: alive, suspect, dead.
function members(n) {
  return ['alive', 'suspect', 'dead', 'left'].filter((s) => n.members?.[s]).map((s) => `${n.members[s]} ${s}`).join(', ')
}

function drawTables() {
  const last = blocks.at(-1)
  fill($('nodes'), names().map((name) => {
    const n = nodes.get(name)
    if (!n.up) return [[name], [`down: ${n.why}`, 'bad']]
    return [[name], [n.head, 'r'], [short(n.head_id), '', 'code'], [n.slot, 'r'], [n.peers.length, 'r'], [n.peers.filter((p) => p.mesh).length, 'r'], [members(n)],
      [n.pool.executable + n.pool.future, 'r'], [last && !lone ? time(last.at[name]) : '', 'r'], [n.rpc, '', 'code']]
  }))
  fill($('blocks'), blocks.slice(-12).reverse().map((b) => [[b.number, 'r'], [short(b.id), '', 'code'], [b.origin], [bytes(b.size), 'r'],
    [Object.keys(b.at).length, 'r'], [time(covered(b, 0.5)), 'r'], [time(covered(b, 0.95)), 'r'], [time(covered(b, 1)), 'r']]))
}

function drawSelects() {
  for (const select of document.querySelectorAll('select')) {
    const want = names()
    if ([...select.options].map((o) => o.value).join() === want.join()) continue
    const chosen = select.value
    select.replaceChildren(...want.map((name) => new Option(name, name)))
    select.value = want.includes(chosen) ? chosen : want[select.name === 'b' ? Math.min(1, want.length - 1) : 0] ?? ''
  }
}

function drawSummary() {
  if (lone) {
    const [n] = nodes.values()
    const peers = n?.peers.length
    document.title = $('title').textContent = `pheme node ${n?.name ?? ''}`
    $('summary').textContent = n?.up ? `block ${n.head}, slot ${n.slot}, ${peers} ${peers === 1 ? 'peer' : 'peers'}` : `down: ${n?.why}`
    return
  }
  const up = [...nodes.values()].filter((n) => n.up)
  const heads = new Set(up.map((n) => n.head_id))
  const most = Math.max(0, ...up.map((n) => n.head))
  $('summary').textContent = `${up.length} of ${nodes.size} nodes up, block ${most}, ${heads.size <= 1 ? 'one head' : `${heads.size} heads`}`
}

// strangers are peers that the page does not follow: it knows of them from their neighbours only.
function strangers() {
  const known = new Set([...nodes.values()].map((n) => n.id)), out = new Map()
  for (const n of nodes.values()) for (const p of n.peers) if (!known.has(p.id)) out.set(p.id, { name: `…${p.id.slice(-6)}`, id: p.id, up: true, peers: [] })
  return [...out.values()].sort((a, b) => a.name.localeCompare(b.name))
}

const svgName = 'http://www.w3.org/2000/svg'
function svg(tag, attributes, text) {
  const e = document.createElementNS(svgName, tag)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  if (text !== undefined) e.textContent = text
  return e
}

// nice rounds a maximum up to 1, 2 or 5 times a power of ten.
function nice(v) {
  const power = 10 ** Math.floor(Math.log10(v))
  return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= v)
}

function drawCoverage() {
  if (lone) {
    $('coverage-text').textContent = "One node is followed here, and a curve needs them all: 'pheme devnet up' has one, 'pheme devnet attach' a report of nodes that run."
    return
  }
  const shown = blocks.filter((b) => reached(b).length > 0)
  if (shown.length === 0) return
  const left = 46, right = 414, top = 10, bottom = 205
  const others = Math.max(1, [...nodes.values()].filter((n) => n.up).length - 1)
  const most = nice(Math.max(1, ...shown.slice(-20).map((b) => reached(b).at(-1))))
  const x = (ms) => left + (right - left) * Math.min(1, ms / most)
  const y = (share) => bottom - (bottom - top) * share
  const parts = []
  for (const share of [0, 0.5, 1]) {
    parts.push(svg('line', { x1: left, x2: right, y1: y(share), y2: y(share), class: 'grid' }))
    parts.push(svg('text', { x: left - 6, y: y(share) + 4, 'text-anchor': 'end' }, `${share * 100} %`))
  }
  for (const part of [0, 0.5, 1]) parts.push(svg('text', { x: x(most * part), y: bottom + 20, 'text-anchor': part === 1 ? 'end' : part ? 'middle' : 'start' }, time(most * part)))
  parts.push(svg('text', { x: right, y: bottom + 36, 'text-anchor': 'end' }, 'after the block was sealed'))
  for (const b of shown.slice(-20)) {
    const have = reached(b)
    const d = have.map((ms, i) => `H${x(ms).toFixed(1)}V${y(Math.min(1, (i + 1) / others)).toFixed(1)}`).join('')
    parts.push(svg('path', { d: `M${left} ${bottom}${d}`, class: b === shown.at(-1) ? 'now' : 'past' }))
  }
  $('coverage').replaceChildren(...parts)
  const b = shown.at(-1)
  $('coverage-text').textContent = `Block ${b.number} of ${b.origin}: half of the others after ${time(covered(b, 0.5)) || '…'}, all after ${time(covered(b, 1)) || '…'}; pale: the blocks before`
}

function draw() {
  dirty = false
  drawSummary()
  drawSelects()
  drawTables()
  drawCoverage()
  graph.update([...names().map((n) => nodes.get(n)), ...strangers()], blocks.at(-1))
}

// Changes come in bursts; everything is drawn at most once a frame, and tables at most ten times a second.
let last = 0
function change() {
  if (dirty) return
  dirty = true
  setTimeout(() => requestAnimationFrame(draw), Math.max(0, last + 100 - performance.now()))
  last = performance.now()
}

function addBlock(b) {
  const i = blocks.findIndex((old) => old.id === b.id)
  if (i >= 0) blocks[i] = b
  else blocks.push(b)
  if (blocks.length > keep) blocks.shift()
}

const source = new EventSource('events')
source.addEventListener('state', (e) => {
  const s = JSON.parse(e.data)
  nodes.clear()
  blocks.length = 0
  for (const n of s.nodes ?? []) nodes.set(n.name, n)
  lone = s.lone
  for (const [id, hidden] of [['coverage', lone], ['coverage-note', lone], ['send', !s.sends], ['cut', lone], ['try', lone && !s.sends]]) $(id).toggleAttribute('hidden', hidden)
  s.blocks.forEach(addBlock)
  change()
})
source.addEventListener('node', (e) => {
  const n = JSON.parse(e.data)
  nodes.set(n.name, n)
  change()
})
source.addEventListener('block', (e) => {
  addBlock(JSON.parse(e.data))
  change()
})
source.addEventListener('got', (e) => {
  const { id, node, ms } = JSON.parse(e.data)
  const b = blocks.find((known) => known.id === id)
  if (b) b.at[node] = ms
  change()
})
source.onerror = () => { $('summary').textContent = 'the devnet does not answer: is it still running?' }

async function act(form, path, body, words) {
  const button = form.querySelector('button'), out = $('outcome')
  button.disabled = true
  out.className = ''
  out.textContent = 'waiting'
  try {
    const r = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
    const answer = JSON.parse(await r.text())
    if (!r.ok) throw new Error(answer.error)
    out.className = 'good'
    out.textContent = words(answer)
  } catch (err) {
    out.className = 'bad'
    out.textContent = err.message
  }
  button.disabled = false
}

$('send').addEventListener('submit', (e) => {
  e.preventDefault()
  const node = e.target.elements.node.value
  act(e.target, 'send', { node }, (a) => `In block ${a.block}, ${time(a.ms)} after it was sent to ${node}: ${a.hash}`)
})
$('cut').addEventListener('submit', (e) => {
  e.preventDefault()
  const { a, b, seconds } = Object.fromEntries(new FormData(e.target))
  act(e.target, 'cut', { a, b, seconds: Number(seconds) }, () => `${a} and ${b} are kept apart for ${seconds} s`)
})
