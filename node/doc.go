// Package node assembles one pheme node.
package node
