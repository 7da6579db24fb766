"""Find the shortcut in a data set, and the images that conflict with it, without bias labels.

`images` reads the data set, `scoring` ranks its images, `verdict` says whether there is a shortcut, `groups` and
`properties` describe it; `findings` puts these together, and `table`, `sheets` and `page` write them down.
"""
