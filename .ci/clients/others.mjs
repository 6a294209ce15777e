// What the checks of run.mjs try with web3.js and cast, beside ethers and viem.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Web3 } from 'web3'
import { mnemonicToAccount } from 'viem/accounts'
import { bytesToHex } from 'viem'

const cast = fileURLToPath(new URL('node_modules/.bin/cast', import.meta.url))
const mnemonic = 'test test test test test test test test test test test junk'
const account = (addressIndex) => mnemonicToAccount(mnemonic, { addressIndex })
const keyOf = (addressIndex) => bytesToHex(account(addressIndex).getHdKey().privateKey)

function same(got, want, what) {
  if (String(got) !== String(want)) throw new Error(`${what} is ${got}, want ${want}`)
}

// web3Transfers sends to one node and reads the block from another.
export async function web3Transfers(writer, reader, ws) {
  const web3 = new Web3(writer)
  web3.eth.transactionPollingInterval = 100
  web3.eth.wallet.add(keyOf(6))
  const { address } = account(6)
  same(await web3.eth.getChainId(), 1337, 'chain id')
  const before = await web3.eth.getBalance(address)
  const to = web3.eth.accounts.create().address
  const gas = await web3.eth.estimateGas({ from: address, to, value: 5 })
  same(gas, 21000, 'gas of a transfer')
  const receipt = await web3.eth.sendTransaction({ from: address, to, value: 5, gas })
  same(receipt.status, 1, 'status')
  const other = new Web3(reader)
  for (let tries = 0; (await other.eth.getBlockNumber()) < receipt.blockNumber; tries++) {
    if (tries > 300) throw new Error(`the reader has no block ${receipt.blockNumber}`)
    await new Promise((r) => setTimeout(r, 100))
  }
  const block = await other.eth.getBlock(receipt.blockNumber, true)
  same(block.hash, receipt.blockHash, 'block of the receipt')
  same(block.transactions.some((t) => t.hash === receipt.transactionHash), true, 'the block holding the transaction')
  same(await other.eth.getBalance(to), 5, 'balance of the recipient')
  if ((await web3.eth.getBalance(address)) >= before) throw new Error('the sender has not paid')

  const live = new Web3(ws)
  const heads = await live.eth.subscribe('newBlockHeaders')
  const seen = []
  await new Promise((resolve, reject) => {
    heads.on('data', (h) => seen.push(h.number) === 2 && resolve())
    heads.on('error', reject)
  })
  same(BigInt(seen[1]), BigInt(seen[0]) + 1n, 'the second block')
  await heads.unsubscribe()
  live.provider.disconnect()
  return `a transfer in block ${receipt.blockNumber}, read from another node; WebSocket told blocks ${seen.join(', ')}`
}

// castTransfers does the same with Foundry's command.
export async function castTransfers(writer, reader) {
  const run = async (...args) => (await promisify(execFile)(cast, args)).stdout.trim()
  same(await run('chain-id', '--rpc-url', writer), 1337, 'chain id')
  const to = '0x00000000000000000000000000000000000ca57a'
  const before = BigInt(await run('balance', to, '--rpc-url', reader))
  const sent = JSON.parse(await run('send', '--rpc-url', writer, '--private-key', keyOf(7), '--poll-interval', '1', '--json', to, '--value', '7'))
  same(sent.status, '0x1', 'status')
  for (let tries = 0; BigInt(await run('block-number', '--rpc-url', reader)) < BigInt(sent.blockNumber); tries++) {
    if (tries > 100) throw new Error(`the reader has no block ${BigInt(sent.blockNumber)}`)
  }
  const block = JSON.parse(await run('block', String(BigInt(sent.blockNumber)), '--full', '--json', '--rpc-url', reader))
  same(block.hash, sent.blockHash, 'block of the receipt')
  same(BigInt(await run('balance', to, '--rpc-url', reader)) - before, 7, 'what the recipient got')
  same(JSON.parse(await run('rpc', 'rpc.discover', '--rpc-url', reader)).openrpc, '1.3.2', 'the version of the OpenRPC document')
  return `a transfer in block ${BigInt(sent.blockNumber)}, read from another node; the OpenRPC document`
}
