package flag

// Updating tells tests outside the package whether golden files are written.
func Updating() bool { return *update }

// Stripes is how many stripes all tallies have together, and how many a hot one has.
func Stripes(c *Counts) (all, ofHot int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tallies {
		all++
		if t.more.Load() != nil {
			all += stripes
		}
	}
	return all, 1 + stripes
}

// Tallies is how many outcomes are remembered.
func Tallies(c *Counts) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tallies)
}
