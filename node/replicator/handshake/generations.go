package handshake

import "gemel/node/block"

// Rotate opens the generation next at a Primary: from now on the peer may lack
// writes. The bits count from what was Current until now.
func Rotate(g *block.Generations, next block.Generation) {
	g.Push(g.Bitmap)
	g.Bitmap, g.Current = g.Current, next
}

// CountFrom makes the bits count from the generation peer, which is right only
// when the bits cover everything in which that peer may differ.
func CountFrom(g *block.Generations, peer block.Generation) {
	if g.Bitmap != peer {
		g.Push(g.Bitmap)
	}
	g.Bitmap = peer
}

// Finish ends a resynchronisation at the source: the peer carries Current.
func Finish(g *block.Generations) {
	g.Push(g.Bitmap)
	g.Bitmap = 0
}

// Adopt ends a resynchronisation at the target: it carries the source's
// generation now.
func Adopt(g *block.Generations, source block.Generation) {
	g.Push(g.Bitmap)
	if g.Current != source {
		g.Push(g.Current)
	}
	g.Current, g.Bitmap = source, 0
}
