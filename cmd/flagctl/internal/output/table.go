package output

import (
	"strings"

	"charm.land/lipgloss/v2"
)

// columnGap is what stands between columns.
const columnGap = "  "

// Table writes rows under a header. Cells may hold styles; texts from outside
// must have gone through Clean.
func (p *Printer) Table(header []string, rows [][]string) {
	heads := make([]string, len(header))
	for i, h := range header {
		heads[i] = Bold(h)
	}
	p.grid(append([][]string{heads}, rows...))
}

// Fields writes names with their values, one a line.
func (p *Printer) Fields(fields [][2]string) {
	rows := make([][]string, len(fields))
	for i, f := range fields {
		rows[i] = []string{Faint(f[0]), f[1]}
	}
	p.grid(rows)
}

// grid pads every column to its widest cell. It is written here because
// lipgloss's own table takes seconds for the 100 000 rows that a namespace may
// have, and leaves spaces at the ends of lines.
func (p *Printer) grid(rows [][]string) {
	var widths []int
	cells := make([][]int, len(rows))
	for i, row := range rows {
		cells[i] = make([]int, len(row))
		for j, cell := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			cells[i][j] = lipgloss.Width(cell)
			widths[j] = max(widths[j], cells[i][j])
		}
	}
	var line strings.Builder
	for i, row := range rows {
		line.Reset()
		pending := "" // spaces that are written only if something follows
		for j, cell := range row {
			if cell != "" {
				line.WriteString(pending + cell)
				pending = ""
			}
			pending += strings.Repeat(" ", widths[j]-cells[i][j]) + columnGap
		}
		p.Printf("%s\n", line.String())
	}
}
