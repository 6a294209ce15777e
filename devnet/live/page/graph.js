// The picture of the network on a canvas: a layout that is the same for the same nodes,
// and the wave of the newest block, replayed slowly enough to be seen.

const replay = 1200 // ms that a wave takes on the page, however fast it was
const palette = ['ink', 'soft', 'paper', 'panel', 'link', 'mesh', 'first', 'middle', 'last', 'none', 'bad'] // of the style sheet

export class Graph {
  constructor(canvas) {
    this.canvas = canvas
    this.places = new Map() // name to {x, y} in 0..1
    this.nodes = []
    this.links = []
    this.block = null
    this.began = 0 // of the replay
    this.asked = false
    this.longest = 0 // ms, of a frame's drawing: what the page's own test looks at
    new ResizeObserver(() => this.ask()).observe(canvas)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.ask())
    this.still = matchMedia('(prefers-reduced-motion: reduce)')
  }

  // update takes in the nodes, sorted, and the newest block.
  update(nodes, block) {
    this.byID = new Map(nodes.filter((n) => n.id).map((n) => [n.id, n.name]))
    if (nodes.length !== this.places.size || nodes.some((n) => !this.places.has(n.name))) this.layOut(nodes)
    this.nodes = nodes
    this.links = this.connect()
    if (block && (!this.block || this.block.id !== block.id)) this.began = performance.now()
    this.block = block ?? null
    this.ask()
  }

  // connect lists each pair of nodes that are peers once: in the mesh when either says so.
  connect() {
    const seen = new Map()
    for (const n of this.nodes) {
      for (const p of n.peers) {
        const other = this.byID.get(p.id)
        if (!other) continue
        const key = n.name < other ? `${n.name} ${other}` : `${other} ${n.name}`
        const l = seen.get(key) ?? { a: n.name, b: other, mesh: false }
        l.mesh ||= p.mesh
        seen.set(key, l)
      }
    }
    return [...seen.values()]
  }

  // layOut spreads the nodes evenly over a disc by the golden angle: stable, and the same every time.
  layOut(nodes) {
    this.places.clear()
    const n = nodes.length
    nodes.forEach((node, i) => {
      const ring = n <= 10
      const angle = ring ? (2 * Math.PI * i) / n - Math.PI / 2 : i * Math.PI * (3 - Math.sqrt(5))
      const radius = ring ? 1 : Math.sqrt((i + 0.5) / n)
      this.places.set(node.name, { x: 0.5 + 0.5 * radius * Math.cos(angle), y: 0.5 + 0.5 * radius * Math.sin(angle) })
    })
  }

  ask() {
    if (this.asked) return
    this.asked = true
    requestAnimationFrame(() => {
      this.asked = false
      const began = performance.now()
      const more = this.draw()
      this.longest = Math.max(this.longest, performance.now() - began)
      this.canvas.dataset.longest = this.longest.toFixed(1)
      if (more) this.ask()
    })
  }

  // draw paints one frame and says whether the wave goes on.
  draw() {
    const { canvas, block } = this
    const scale = devicePixelRatio || 1
    const width = canvas.clientWidth, height = canvas.clientHeight
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale)
      canvas.height = Math.round(height * scale)
    }
    const c = canvas.getContext('2d')
    const style = getComputedStyle(canvas)
    const colour = Object.fromEntries(palette.map((name) => [name, style.getPropertyValue(`--${name}`)]))
    c.setTransform(scale, 0, 0, scale, 0, 0)
    c.clearRect(0, 0, width, height)
    const crowded = this.nodes.length > 24, size = crowded ? 7 : 12, edge = size + 22
    const at = (name) => {
      const p = this.places.get(name)
      return [edge + p.x * (width - 2 * edge), edge + p.y * (height - 2 * edge)]
    }
    for (const mesh of [false, true]) { // the mesh over the rest, each in one stroke
      c.strokeStyle = mesh ? colour.mesh : colour.link
      c.lineWidth = (mesh ? 1.6 : 0.7) / (crowded ? 2 : 1)
      c.beginPath()
      for (const l of this.links) {
        if (l.mesh !== mesh) continue
        c.moveTo(...at(l.a))
        c.lineTo(...at(l.b))
      }
      c.stroke()
    }
    const most = block ? Math.max(1e-3, ...Object.values(block.at)) : 1
    const passed = this.still.matches ? 1 : Math.min(1, (performance.now() - this.began) / replay)
    c.textAlign = 'center'
    c.font = '12px system-ui, sans-serif'
    c.lineJoin = 'round'
    for (const n of this.nodes) {
      const [x, y] = at(n.name)
      const when = block?.at[n.name]
      const lit = n.up && when !== undefined && when / most <= passed
      if (lit && passed < 1) {
        const age = passed - when / most
        c.globalAlpha = Math.max(0, 0.5 - 2 * age)
        c.strokeStyle = colour.first
        c.lineWidth = 3
        c.beginPath()
        c.arc(x, y, size + 40 * age, 0, 7)
        c.stroke()
        c.globalAlpha = 1
      }
      c.beginPath()
      c.arc(x, y, size, 0, 7)
      c.fillStyle = n.up ? colour.none : colour.paper
      c.fill()
      if (lit) { // from first over middle to last: straight from blue to amber the way leads through the grey of not yet
        const late = 2 * when / most, [under, over] = late < 1 ? [colour.first, colour.middle] : [colour.middle, colour.last]
        c.fillStyle = under
        c.fill()
        c.globalAlpha = late < 1 ? late : late - 1
        c.fillStyle = over
        c.fill()
        c.globalAlpha = 1
      }
      if (!n.up || n.name === block?.origin) {
        c.strokeStyle = n.up ? colour.ink : colour.bad
        c.lineWidth = 2
        c.stroke()
      }
      c.fillStyle = colour.soft
      c.strokeStyle = colour.panel
      c.lineWidth = 4
      c.strokeText(n.name, x, y + size + 14) // keeps links from running through it
      c.fillText(n.name, x, y + size + 14)
    }
    return passed < 1
  }
}
