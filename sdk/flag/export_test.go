package flag

// Updating tells tests outside the package whether golden files are written.
func Updating() bool { return *update }

// Tallies is how many outcomes are remembered.
func Tallies(c *Counts) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tallies)
}
