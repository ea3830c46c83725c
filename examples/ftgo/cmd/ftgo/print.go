package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"golang.org/x/term"
)

func printJSON(out io.Writer, content any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(content)
}

func ms(milliseconds float64) string { return fmt.Sprintf("%.1f ms", milliseconds) }

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// printTable draws a table on a terminal, and columns of plain text elsewhere.
func printTable(out io.Writer, headers []string, rows [][]string) {
	if isTerminal(out) {
		head := lipgloss.NewStyle().Bold(true).Padding(0, 1)
		cell := lipgloss.NewStyle().Padding(0, 1)
		drawn := table.New().Headers(headers...).Rows(rows...).Border(lipgloss.RoundedBorder()).
			StyleFunc(func(row, _ int) lipgloss.Style {
				if row == table.HeaderRow {
					return head
				}
				return cell
			})
		_, _ = lipgloss.Fprintln(out, drawn.String())
		return
	}
	columns := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, strings.Join(headers, "\t"))
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	_ = columns.Flush() // printing for people
}

// colored marks good and bad on a terminal that wants colors; lipgloss leaves them out for
// NO_COLOR and for what is no terminal.
func colored(out io.Writer, good bool, text string) {
	color := lipgloss.Color("2")
	if !good {
		color = lipgloss.Color("1")
	}
	_, _ = lipgloss.Fprintln(out, lipgloss.NewStyle().Bold(true).Foreground(color).Render(text))
}
