package admission

type trial struct{}
