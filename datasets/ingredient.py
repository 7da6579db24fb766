"""Sacred ingredient `data`: which data set, in which variant."""

from sacred import Ingredient

from datasets import default_setting

data = Ingredient("data", save_git_info=False)


@data.config
def source():
    name = "digits"  # data set
    root = "data"  # folder of the downloaded files
    protocol = "holdout"  # holdout: validate on images kept out of training; published: split as the papers do
    seed = 0  # of the data (colour noise), independent of the run's seed


@data.config
def variant(name):
    # a setting that the data set does not have is None
    arrays = default_setting(name, "arrays")  # a ready-made LfF/DeNetDM array folder to read instead
    skew = default_setting(name, "skew", arrays)  # fraction of bias-conflicting training images
    severity = default_setting(name, "severity", arrays)  # how strong the bias is in an image
    rho = default_setting(name, "rho")  # fraction of the training images that have the usual bias of their class
    n_confusing = default_setting(name, "n_confusing")  # biases of the other training images of a class
    reverse = default_setting(name, "reverse")  # swap the roles of target and bias
    csv = default_setting(name, "csv")  # the CSV of the user's own images
    image_size = default_setting(name, "image_size")  # pixels, height and width of the decoded images
    augment = default_setting(name, "augment")  # random change of training images
    normalize = default_setting(name, "normalize")  # statistics of the channels
    target_attribute = default_setting(name, "target_attribute")  # what is to be learnt
    bias_attribute = default_setting(name, "bias_attribute")  # what usually comes with it
    cache = default_setting(name, "cache")  # folder of built data sets; None: <root>/cache
