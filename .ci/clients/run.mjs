// Sends transfers with ethers, viem, web3.js and cast to the nodes of a running devnet, each account to
// another node, and reads the outcome from all of them.
//
//   node run.mjs http://127.0.0.1:PORT...
//
// Prints a line for each check; the exit code is 1 when one fails.

import { ethers } from 'ethers'
import { createPublicClient, createWalletClient, defineChain, http, parseGwei, webSocket } from 'viem'
import { BaseError, InsufficientFundsError } from 'viem'
import { castTransfers, web3Transfers } from './others.mjs'
import { generatePrivateKey, mnemonicToAccount, privateKeyToAddress } from 'viem/accounts'

const mnemonic = 'test test test test test test test test test test test junk'
const urls = process.argv.slice(2)
const transfers = 3 // of each account
const accounts = 4 // for each library
const value = 1_000_000_000n
const patience = 60_000 // ms for one check

if (urls.length === 0) {
  console.error('usage: node run.mjs http://127.0.0.1:PORT...   (the RPC URLs that "pheme devnet up" prints)')
  process.exit(2)
}
const url = (i) => urls[i % urls.length]
const ws = (i) => url(i).replace(/^http/, 'ws')

let failed = 0

async function check(name, run) {
  const began = Date.now()
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing after ${patience / 1000} s`)), patience)
  })
  try {
    const what = await Promise.race([run(), late])
    console.log(`ok    ${name}: ${what} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  } catch (err) {
    failed++
    console.log(`FAIL  ${name}: ${err.shortMessage ?? err.message}`)
    console.log(String(err.stack).replace(/^/gm, '      '))
  }
  clearTimeout(timer)
}

function same(got, want, what) {
  if (got !== want) throw new Error(`${what} is ${got}, want ${want}`)
}

async function refused(run, text) {
  try {
    await run()
  } catch (err) {
    if (JSON.stringify(err, Object.getOwnPropertyNames(err)).includes(text)) return
    throw err
  }
  throw new Error(`was accepted, want "${text}"`)
}

// balances waits until every node has to's balance at want, looking once a block.
async function balances(to, want) {
  for (const u of urls) {
    const client = createPublicClient({ transport: http(u) })
    for (;;) {
      const have = await client.getBalance({ address: to })
      if (have === want) break
      if (have > want) throw new Error(`${u}: the balance is ${have}, want ${want}`)
      await new Promise((r) => setTimeout(r, 100))
    }
  }
}

const ethersProvider = (i) => new ethers.JsonRpcProvider(url(i), undefined, { staticNetwork: true, polling: true, pollingInterval: 100 })

async function ethersTransfers() {
  const to = ethers.Wallet.createRandom().address
  await Promise.all([...Array(accounts).keys()].map(async (i) => {
    const provider = ethersProvider(i)
    const wallet = ethers.HDNodeWallet.fromPhrase(mnemonic, '', `m/44'/60'/0'/0/${i}`).connect(provider)
    for (let k = 0; k < transfers; k++) {
      const tx = await wallet.sendTransaction({ to, value, data: k === 0 ? '0x' : '0xc0ffee00' })
      const receipt = await tx.wait()
      same(receipt.status, 1, 'status')
      same(receipt.from, wallet.address, 'sender')
      const block = await provider.getBlock(receipt.blockNumber, true)
      same(block.hash, receipt.blockHash, 'block of the receipt')
      same(block.prefetchedTransactions.some((t) => t.hash === tx.hash), true, 'the block holding the transaction')
    }
    provider.destroy()
  }))
  await balances(to, value * BigInt(accounts * transfers))
  return `${accounts * transfers} transfers of ${accounts} accounts through ${Math.min(accounts, urls.length)} nodes, in blocks, the same balance on ${urls.length} nodes`
}

async function ethersSubscribe() {
  const provider = new ethers.WebSocketProvider(ws(1))
  const wallet = ethers.HDNodeWallet.fromPhrase(mnemonic, '', `m/44'/60'/0'/0/${8}`).connect(ethersProvider(0))
  const pending = new Promise((resolve) => provider.on('pending', resolve))
  const blocks = new Promise((resolve) => {
    const seen = []
    provider.on('block', (n) => seen.push(n) === 2 && resolve(seen))
  })
  await provider.getNetwork()
  const tx = await wallet.sendTransaction({ to: wallet.address, value: 1n })
  same(await pending, tx.hash, 'the pending transaction told by another node')
  const seen = await blocks
  same(seen[1], seen[0] + 1, 'the second block')
  await tx.wait()
  wallet.provider.destroy()
  await provider.destroy()
  return `WebSocket told transaction ${tx.hash.slice(0, 10)} and blocks ${seen.join(', ')}`
}

async function ethersRefusals() {
  const provider = ethersProvider(0)
  const wallet = ethers.HDNodeWallet.fromPhrase(mnemonic, '', `m/44'/60'/0'/0/${0}`).connect(provider)
  await refused(() => wallet.sendTransaction({ data: '0x6000', gasLimit: 100_000n }), 'contract creation is not supported')
  const poor = ethers.Wallet.createRandom().connect(provider)
  try {
    await poor.sendTransaction({ to: wallet.address, value: 1n })
    throw new Error('a transfer of an empty account was accepted')
  } catch (err) {
    same(err.code, 'INSUFFICIENT_FUNDS', 'the error of an empty account')
  }
  try {
    await wallet.sendTransaction({ to: poor.address, value: 1n, nonce: 0 })
    throw new Error('a used nonce was accepted')
  } catch (err) {
    same(err.code, 'NONCE_EXPIRED', 'the error of a used nonce')
  }
  provider.destroy()
  return 'contract creation, an empty account and a used nonce are refused in words that ethers knows'
}

const chain = defineChain({
  id: 1337, name: 'pheme devnet', nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
  rpcUrls: { default: { http: [url(0)] } },
})

async function viemTransfers() {
  const to = privateKeyToAddress(generatePrivateKey())
  await Promise.all([...Array(accounts).keys()].map(async (i) => {
    const account = mnemonicToAccount(mnemonic, { addressIndex: accounts + i })
    const wallet = createWalletClient({ account, chain, transport: http(url(i)) })
    const reader = createPublicClient({ chain, transport: http(url(i + 1)), pollingInterval: 100 })
    for (let k = 0; k < transfers; k++) {
      const types = [{}, { type: 'legacy' }, { type: 'eip2930', accessList: [{ address: to, storageKeys: [] }] }]
      const hash = await wallet.sendTransaction({ to, value, ...types[k % types.length] })
      const receipt = await reader.waitForTransactionReceipt({ hash, timeout: patience, retryCount: 100 })
      same(receipt.status, 'success', 'status')
      const block = await reader.getBlock({ blockHash: receipt.blockHash, includeTransactions: true })
      same(block.transactions[receipt.transactionIndex].hash, hash, 'the transaction in its block')
      // The writer's next nonce comes from its own node, which may hear of the block later.
      await createPublicClient({ chain, transport: http(url(i)), pollingInterval: 100 }).waitForTransactionReceipt({ hash, timeout: patience, retryCount: 100 })
    }
  }))
  await balances(to, value * BigInt(accounts * transfers))
  return `${accounts * transfers} transfers of three types, sent to one node and read from another, the same balance on ${urls.length} nodes`
}

async function viemEstimates() {
  const client = createPublicClient({ chain, transport: http(url(0)) })
  const { address } = mnemonicToAccount(mnemonic)
  same(await client.getChainId(), 1337, 'chain id')
  same(await client.estimateGas({ account: address, to: address, value: 1n }), 21_000n, 'gas of a transfer')
  const fees = await client.estimateFeesPerGas()
  if (fees.maxFeePerGas < parseGwei('1')) throw new Error(`maxFeePerGas is ${fees.maxFeePerGas}, below the base fee`)
  same(await client.getCode({ address }), undefined, 'code')
  same((await client.getFeeHistory({ blockCount: 4, rewardPercentiles: [10, 90] })).gasUsedRatio.length > 0, true, 'fee history')
  try {
    const poor = privateKeyToAddress(generatePrivateKey())
    await client.estimateGas({ account: poor, to: address, value: 1n })
    throw new Error('an estimate for an empty account was given')
  } catch (err) {
    if (!(err instanceof BaseError && err.walk((e) => e instanceof InsufficientFundsError))) throw err
  }
  return 'chain id, gas, fees, code, fee history; an empty account is refused in words that viem knows'
}

async function viemWatch() {
  const client = createPublicClient({ chain, transport: webSocket(ws(2)) })
  const account = mnemonicToAccount(mnemonic, { addressIndex: 9 })
  const wallet = createWalletClient({ account, chain, transport: http(url(0)) })
  const numbers = []
  const two = new Promise((resolve, reject) => {
    const stop = client.watchBlocks({
      onBlock: (b) => numbers.push(b.number) === 2 && (stop(), resolve()),
      onError: reject,
    })
  })
  const raw = await wallet.signTransaction(await wallet.prepareTransactionRequest({ to: account.address, value: 1n }))
  const receipt = await client.request({ method: 'eth_sendRawTransactionSync', params: [raw] })
  same(receipt.status, '0x1', 'status of eth_sendRawTransactionSync')
  await two
  same(numbers[1], numbers[0] + 1n, 'the second block')
  ;(await client.transport.getRpcClient()).close()
  return `WebSocket told blocks ${numbers.join(', ')}; one call from submission to receipt`
}

// agreement compares a block that every node has.
async function agreement() {
  const clients = urls.map((u) => createPublicClient({ chain, transport: http(u) }))
  const numbers = await Promise.all(clients.map((c) => c.getBlockNumber()))
  const number = numbers.reduce((a, b) => (a < b ? a : b)) - 1n
  const blocks = await Promise.all(clients.map((c) => c.getBlock({ blockNumber: number })))
  blocks.forEach((b, i) => {
    same(b.hash, blocks[0].hash, `block ${number} of ${urls[i]}`)
    same(b.stateRoot, blocks[0].stateRoot, `state root of block ${number} of ${urls[i]}`)
  })
  return `${urls.length} nodes have block ${number} ${blocks[0].hash.slice(0, 10)} and its state root`
}

// nodes asks each node what it is: when one does not answer, nothing else is worth a try.
async function nodes() {
  const versions = await Promise.all(urls.map((u) => createPublicClient({ transport: http(u, { retryCount: 0 }) }).request({ method: 'web3_clientVersion' })))
  return `${urls.length} of ${[...new Set(versions)].join(', ')}`
}

await check('nodes', nodes)
if (failed > 0) process.exit(1)
await check(`ethers ${ethers.version} transfers`, ethersTransfers)
await check(`ethers ${ethers.version} WebSocket`, ethersSubscribe)
await check(`ethers ${ethers.version} refusals`, ethersRefusals)
await check('viem estimates', viemEstimates)
await check('viem transfers', viemTransfers)
await check('viem WebSocket', viemWatch)
await check('web3.js', () => web3Transfers(url(0), url(1), ws(2)))
await check('cast', () => castTransfers(url(1), url(3)))
await check('agreement', agreement)
console.log(failed === 0 ? 'all checks passed' : `${failed} checks failed`)
process.exit(failed === 0 ? 0 : 1)
