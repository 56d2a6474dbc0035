// Package hardware is the home of measuring, tuning and qualifying a pair of
// real boxes. It is not part of the data path and nothing in node imports it.
package hardware
