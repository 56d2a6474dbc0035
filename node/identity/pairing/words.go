package pairing

import "strings"

// Words is how many words people compare; each carries eight bits.
const Words = 6

// list holds 256 words that are hard to mix up when read aloud.
var list = strings.Fields(`
	acorn alarm album amber anchor angel apple apron arrow atlas autumn badge bamboo banjo barrel basil
	beacon beaver berry bishop blanket blossom bottle bracket bread bridge bronze bucket buffalo
	butter button cabin cactus camel candle canyon carbon carpet castle cedar cellar cement cherry
	chimney circus citrus clover cobalt coconut coffee comet compass copper coral cotton cradle
	crystal cymbal daisy dancer denim desert diamond dolphin donkey dragon drummer eagle echo ember
	engine fabric falcon feather fender fiddle finger flannel forest fossil fountain freckle galaxy
	garden garlic gecko ginger giraffe glacier goblet gopher granite gravel guitar hammer harbor
	harvest hazel helmet heron hickory honey hornet hotel igloo indigo island ivory jacket jaguar
	jasmine jelly jersey jigsaw jungle kayak kernel kettle kitten ladder lagoon lantern lavender
	lemon leopard lettuce lilac lizard lobster locket lumber magnet mango marble meadow melon mercury
	mirror mitten monkey mosaic muffin museum mustard nectar needle nickel noodle nugget nutmeg oasis
	oboe ocean olive onion opal orbit orchid otter oyster paddle palace panda paper parrot peanut
	pebble pelican pencil pepper piano pickle pillow pilot pirate planet pocket polar pony poppy
	portal potato prairie pretzel pumpkin puppet purple quartz quilt rabbit radish raven ribbon river
	robin rocket rubber saddle salmon sandal sapphire satin saucer scarlet season shadow sheriff
	silver siren spider spiral sponge squirrel stable sugar summer sunset tablet tango teapot temple
	thimble thunder tiger timber toast tomato topaz tractor trumpet tulip tunnel turbo turtle
	umbrella urchin valley vanilla velvet violet viper volcano waffle walnut walrus whistle willow
	window winter wizard yacht yellow yogurt zebra zenith zipper
`)

// spell turns the first bytes of a key into words.
func spell(key []byte) [Words]string {
	var said [Words]string
	for i := range said {
		said[i] = list[key[i]]
	}
	return said
}
