// Package accounts derives the funded accounts of a devnet from the mnemonic that local Ethereum
// chains share, so that a wallet set up for one of those finds its money here (BIP-39, BIP-32,
// BIP-44 path m/44'/60'/0'/0/i).
//
// The mnemonic is public: these keys must never hold anything of value. Only derivation is here;
// no key is stored.
package accounts
