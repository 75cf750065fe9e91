package output

import (
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
)

// columnGap is what stands between columns.
const columnGap = "  "

// Table writes rows under a header. Cells may hold styles; texts from outside
// must have gone through Clean. Where lines would be wider than the terminal,
// spare columns are left out, in the order in which they are named.
func (p *Printer) Table(header []string, rows [][]string, spare ...string) {
	heads := make([]string, len(header))
	for i, h := range header {
		heads[i] = Bold(h)
	}
	g := measure(append([][]string{heads}, rows...))
	for _, name := range spare {
		if p.width == 0 || g.width() <= p.width {
			break
		}
		if i := slices.Index(header, name); i >= 0 {
			g.hidden[i] = true
		}
	}
	p.grid(g)
}

// Fields writes names with their values, one a line.
func (p *Printer) Fields(fields [][2]string) {
	rows := make([][]string, len(fields))
	for i, f := range fields {
		rows[i] = []string{Faint(f[0]), f[1]}
	}
	p.grid(measure(rows))
}

// grid is cells whose widths are known.
type grid struct {
	rows   [][]string
	cells  [][]int // the width of each cell
	widths []int   // that of each column's widest
	hidden []bool  // columns that are left out
}

func measure(rows [][]string) *grid {
	g := &grid{rows: rows, cells: make([][]int, len(rows))}
	for i, row := range rows {
		g.cells[i] = make([]int, len(row))
		for j, cell := range row {
			if j == len(g.widths) {
				g.widths = append(g.widths, 0)
			}
			g.cells[i][j] = lipgloss.Width(cell)
			g.widths[j] = max(g.widths[j], g.cells[i][j])
		}
	}
	g.hidden = make([]bool, len(g.widths))
	return g
}

// width is that of the widest line there may be.
func (g *grid) width() int {
	total := -len(columnGap)
	for i, w := range g.widths {
		if !g.hidden[i] {
			total += w + len(columnGap)
		}
	}
	return total
}

// grid pads every column to its widest cell. It is written here because
// lipgloss's own table takes seconds for the 100 000 rows that a namespace may
// have, and leaves spaces at the ends of lines.
func (p *Printer) grid(g *grid) {
	var line strings.Builder
	for i, row := range g.rows {
		line.Reset()
		pending := "" // spaces that are written only if something follows
		for j, cell := range row {
			if g.hidden[j] {
				continue
			}
			if cell != "" {
				line.WriteString(pending + cell)
				pending = ""
			}
			pending += strings.Repeat(" ", g.widths[j]-g.cells[i][j]) + columnGap
		}
		p.Printf("%s\n", line.String())
	}
}
