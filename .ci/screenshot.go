//go:build ignore

// Command screenshot fails unless two PNG files show a drawn page, the first on a light ground and the second on a dark one:
//
//	go run .ci/screenshot.go light.png dark.png
package main

import (
	"fmt"
	"image"
	"image/png"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: screenshot LIGHT.png DARK.png")
	}
	for i, path := range os.Args[1:] {
		f, err := os.Open(path)
		if err != nil {
			fail("%v", err)
		}
		img, err := png.Decode(f)
		if err != nil {
			fail("%s: %v", path, err)
		}
		ground, ink, colours := look(img)
		fmt.Printf("%s: ground %d of 255, ink %.1f %%, %d colours\n", path, ground, 100*ink, colours)
		if dark := i == 1; dark != (ground < 128) {
			fail("%s: the page's ground has lightness %d of 255: the colour scheme asked for is not honoured", path, ground)
		}
		// A page of tables and curves inks a few per cent, smoothed into many shades; a blank one or an error page does not.
		if ink < 0.02 || colours < 50 {
			fail("%s: the page is almost empty", path)
		}
	}
}

// look returns the lightness of the commonest colour, the share of pixels in another one, and the number of colours.
func look(img image.Image) (ground int, ink float64, colours int) {
	count := map[[3]uint32]int{}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			count[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	most := 0
	for c, n := range count {
		if n > most {
			most, ground = n, int(c[0]+c[1]+c[2])/3
		}
	}
	return ground, 1 - float64(most)/float64(b.Dx()*b.Dy()), len(count)
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "screenshot: "+format+"\n", args...)
	os.Exit(1)
}
