package flag

// Updating tells tests outside the package whether golden files are written.
func Updating() bool { return *update }
