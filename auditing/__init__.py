"""Find the shortcut in a data set, and the images that conflict with it, without bias labels.

`images` reads and downsamples the data set, `scoring` trains small networks and scores the images, `verdict` decides
whether there is a shortcut, `groups` and `properties` describe it. `findings` collects the results; `table`, `sheets`
and `page` write them.
"""
