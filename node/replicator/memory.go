package replicator

// What the data plane may hold in memory, in bytes; docs/performance.md says the
// same in words. What frontends hold comes on top.
const (
	memoryBase   = 48 << 20 // the process, without volumes
	memoryVolume = 10 << 20 // what the peer has not confirmed, buffers, metadata
	memoryPerTiB = 64 << 20 // bitmap, and its pages while they are saved

	// All volumes together may have shareOfAll under way in resyncs and verifies, or
	// received and not written; one has at least shareLeast and at most shareMost.
	shareOfAll = 256 << 20
	shareLeast = 4 << 20
	shareMost  = 64 << 20
)

// share is how much of that one of so many volumes has.
func share(volumes int) int64 {
	return min(max(shareOfAll/int64(max(volumes, 1)), shareLeast), shareMost)
}

// memoryBound is what a replicator with so many volumes, together of that size in
// bytes, holds at most.
func memoryBound(volumes int, size int64) int64 {
	n := int64(volumes)
	return memoryBase + n*(memoryVolume+share(volumes)) + size>>10*memoryPerTiB>>30
}
